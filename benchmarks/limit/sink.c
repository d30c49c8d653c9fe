/*
 * Where the deliveries of a benchmark end: an HTTP/1.1 server that reads whole bodies, counts the requests of
 * each path and answers 204. It is written in C so that it is not what is measured.
 *
 *   sink PATHS LOG ARRIVALS [CERTIFICATE_PEM KEY_PEM]
 *
 * Listens on a free port of the loopback and serves /0 to /<PATHS-1>, with TLS when it is given a certificate.
 * What comes to /<n>/failing is answered with 500, and what comes to /<n>/slow after two seconds; neither is counted.
 *
 * The first ARRIVALS requests are noted in the file LOG, each as three unsigned 64-bit numbers: the number in its
 * header "ce-id", its path's number, and the monotonic nanoseconds at which it was complete.
 *
 * It answers each line on its standard input with one line of JSON (the first one for nothing):
 *
 *   {"port": 40001, "bytes": 0, "first": 0.0, "last": 0.0, "counts": [0, 0]}
 *
 * "first" and "last" are the monotonic seconds at which a request was complete. It ends with its input.
 * One thread a connection: a delivery costs it one read and one write, and nothing waits for another.
 */
#include <arpa/inet.h>
#include <fcntl.h>
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
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER_BYTES = 65536, BACKLOG = 4096, STACK_BYTES = 256 * 1024, SLOW_SECONDS = 2 };

typedef struct {
    int socket;
    SSL *tls;
    size_t from, to; /* what was read and not yet used lies between them */
    char buffer[BUFFER_BYTES];
} connection;

typedef struct {
    unsigned long long event, path, at;
} arrival;

static unsigned path_count;
static arrival *arrivals; /* the log, mapped */
static unsigned long long arrival_count;
static atomic_ullong next_arrival;
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
    char *event = strcasestr(head, "\r\nce-id:"), *after = path;
    unsigned number = path ? strtoul(path + 2, &after, 10) : path_count;
    unsigned long long event_number = event ? strtoull(event + 8, NULL, 10) : 0;
    bool is_failing = path && !strncmp(after, "/failing", 8), is_slow = path && !strncmp(after, "/slow", 5);
    if (length) {
        unsigned long long size = strtoull(length + 17, NULL, 10);
        body_bytes += size;
        if (!skip(client, size)) return false;
    } else if (strcasestr(head, "\r\ntransfer-encoding: chunked") && !skip_chunks(client)) {
        return false;
    }
    if (number >= path_count) return answer(client, "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
    if (is_failing) return answer(client, "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n");
    if (is_slow) return sleep(SLOW_SECONDS), answer(client, "HTTP/1.1 204 No Content\r\n\r\n");
    unsigned long long none = 0, now = nanoseconds();
    atomic_compare_exchange_strong(&first_at, &none, now);
    last_at = now;
    unsigned long long place = next_arrival++;
    if (place < arrival_count) arrivals[place] = (arrival){event_number, number, now};
    counts[number]++; /* after its note: who has seen the count finds the note */
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

static void open_log(const char *path)
{
    size_t bytes = arrival_count * sizeof *arrivals;
    int file = open(path, O_RDWR | O_CREAT, 0600);
    if (file < 0 || ftruncate(file, bytes)) die(path);
    arrivals = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (arrivals == MAP_FAILED) die(path);
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

    if (count != 4 && count != 6) return fputs("usage: see the head of sink.c\n", stderr), 2;
    signal(SIGPIPE, SIG_IGN);
    path_count = strtoul(words[1], NULL, 10);
    counts = calloc(path_count, sizeof *counts);
    arrival_count = strtoull(words[3], NULL, 10);
    if (arrival_count) open_log(words[2]);
    if (count == 6) use_tls(words[4], words[5]);
    if (bind(listener, (struct sockaddr *)&at, size) || listen(listener, BACKLOG)) die("cannot listen");
    getsockname(listener, (struct sockaddr *)&at, &size);
    if (pthread_create(&thread, NULL, accept_all, &listener)) die("pthread_create");
    do report(ntohs(at.sin_port));
    while (fgets(line, sizeof line, stdin));
    return 0;
}
