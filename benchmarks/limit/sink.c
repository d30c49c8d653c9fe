/*
 * Where the deliveries of a benchmark end: an HTTP/1.1 server that reads whole bodies, counts the requests of
 * each path and answers 204. It is written in C so that it is not what is measured.
 *
 *   sink PATHS [CERTIFICATE_PEM KEY_PEM]
 *
 * Listens on a free port of the loopback and serves /0 to /<PATHS-1>, with TLS when it is given a certificate.
 * It answers each line on its standard input with one line of JSON (the first one for nothing):
 *
 *   {"port": 40001, "bytes": 0, "first": 0.0, "last": 0.0, "counts": [0, 0]}
 *
 * "first" and "last" are the monotonic seconds at which a request was complete. It ends with its input.
 * One thread a connection: a delivery costs it one read and one write, and nothing waits for another.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER_BYTES = 65536, BACKLOG = 4096, STACK_BYTES = 256 * 1024 };

typedef struct {
    int socket;
    SSL *tls;
    size_t from, to; /* what was read and not yet used lies between them */
    char buffer[BUFFER_BYTES];
} connection;

static unsigned path_count;
static atomic_ullong *counts, body_bytes, first_at, last_at; /* times in nanoseconds */
static SSL_CTX *tls_context;

static void die(const char *reason)
{
    perror(reason);
    exit(1);
}

static unsigned long long nanoseconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000ULL + time.tv_nsec;
}

/* Read more behind what is there; false at the end of the connection, or when the buffer is full. */
static bool refill(connection *from)
{
    if (from->from == from->to) from->from = from->to = 0;
    if (from->from) {
        memmove(from->buffer, from->buffer + from->from, from->to - from->from);
        from->to -= from->from;
        from->from = 0;
    }
    size_t room = BUFFER_BYTES - from->to;
    if (!room) return false;
    ssize_t got = from->tls ? SSL_read(from->tls, from->buffer + from->to, room)
                            : read(from->socket, from->buffer + from->to, room);
    if (got <= 0) return false;
    from->to += got;
    return true;
}

static bool answer(connection *to, const char *text)
{
    ssize_t length = strlen(text);
    return (to->tls ? SSL_write(to->tls, text, length) : write(to->socket, text, length)) == length;
}

/* Take what ends with `end`, which becomes a zero byte; NULL when the connection ended before. */
static char *take_until(connection *from, const char *end)
{
    char *found;
    while (!(found = memmem(from->buffer + from->from, from->to - from->from, end, strlen(end))))
        if (!refill(from)) return NULL;
    char *start = from->buffer + from->from;
    from->from = found - from->buffer + strlen(end);
    *found = 0;
    return start;
}

static bool skip(connection *from, unsigned long long bytes)
{
    while (bytes) {
        if (from->from == from->to && !refill(from)) return false;
        size_t here = from->to - from->from < bytes ? from->to - from->from : bytes;
        from->from += here;
        bytes -= here;
    }
    return true;
}

static bool skip_chunks(connection *from)
{
    for (;;) {
        char *line = take_until(from, "\r\n");
        if (!line) return false;
        unsigned long long size = strtoull(line, NULL, 16);
        body_bytes += size;
        if (!skip(from, size + 2)) return false;
        if (!size) return true;
    }
}

static bool serve_one(connection *client)
{
    char *head = take_until(client, "\r\n\r\n");
    if (!head) return false;
    char *path = strstr(head, " /"), *length = strcasestr(head, "\r\ncontent-length:");
    unsigned number = path ? strtoul(path + 2, NULL, 10) : path_count;
    if (length) {
        unsigned long long size = strtoull(length + 17, NULL, 10);
        body_bytes += size;
        if (!skip(client, size)) return false;
    } else if (strcasestr(head, "\r\ntransfer-encoding: chunked") && !skip_chunks(client)) {
        return false;
    }
    if (number >= path_count) return answer(client, "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
    unsigned long long none = 0, now = nanoseconds();
    atomic_compare_exchange_strong(&first_at, &none, now);
    last_at = now;
    counts[number]++;
    return answer(client, "HTTP/1.1 204 No Content\r\n\r\n");
}

static void *serve(void *argument)
{
    connection *client = argument;
    if (tls_context) {
        client->tls = SSL_new(tls_context);
        SSL_set_fd(client->tls, client->socket);
    }
    if (!client->tls || SSL_accept(client->tls) == 1)
        while (serve_one(client)) {}
    SSL_free(client->tls);
    close(client->socket);
    free(client);
    return NULL;
}

static void *accept_all(void *listener)
{
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, STACK_BYTES);
    pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
    for (;;) {
        connection *client = calloc(1, sizeof *client);
        pthread_t thread;
        int at_once = 1;
        client->socket = accept(*(int *)listener, NULL, NULL);
        if (client->socket < 0) die("accept");
        setsockopt(client->socket, IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof at_once);
        if (pthread_create(&thread, &small, serve, client)) die("pthread_create");
    }
    return NULL;
}

static void use_tls(const char *certificate, const char *key)
{
    tls_context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_min_proto_version(tls_context, TLS1_2_VERSION);
    if (SSL_CTX_use_certificate_chain_file(tls_context, certificate) != 1 ||
        SSL_CTX_use_PrivateKey_file(tls_context, key, SSL_FILETYPE_PEM) != 1)
        die("the certificate or its key");
}

static void report(int port)
{
    printf("{\"port\": %d, \"bytes\": %llu, \"first\": %.9f, \"last\": %.9f, \"counts\": [", port, body_bytes,
           first_at / 1e9, last_at / 1e9);
    for (unsigned number = 0; number < path_count; number++) printf("%s%llu", number ? ", " : "", counts[number]);
    puts("]}");
    fflush(stdout);
}

int main(int count, char **words)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    char line[16];
    pthread_t thread;

    if (count != 2 && count != 4) return fputs("usage: see the head of sink.c\n", stderr), 2;
    signal(SIGPIPE, SIG_IGN);
    path_count = strtoul(words[1], NULL, 10);
    counts = calloc(path_count, sizeof *counts);
    if (count == 4) use_tls(words[2], words[3]);
    if (bind(listener, (struct sockaddr *)&at, size) || listen(listener, BACKLOG)) die("cannot listen");
    getsockname(listener, (struct sockaddr *)&at, &size);
    if (pthread_create(&thread, NULL, accept_all, &listener)) die("pthread_create");
    do report(ntohs(at.sin_port));
    while (fgets(line, sizeof line, stdin));
    return 0;
}
