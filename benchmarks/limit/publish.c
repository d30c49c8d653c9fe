/*
 * The yardstick of a confirmed publish with a claim check: what C reaches on the same servers.
 *
 *   publish REDIS_HOST REDIS_PORT KEY_PREFIX EXCHANGE ROUTING_KEY TYPE BODIES SIZE EVENTS SECONDS WINDOW
 *
 * CLAIMBUS_AMQP_URL names the broker. BODIES is a file of bodies of SIZE bytes each, taken in turn.
 *
 * One thread. An event passes three gates: its body is SET in Redis (pipelined), its ticket is published once
 * Redis has answered, and it is done once RabbitMQ has confirmed it. At most WINDOW events are between the
 * first gate and the last. It stops after EVENTS events or SECONDS seconds, whichever comes first, waits for
 * what is in flight, and prints one line of JSON.
 */
#include <amqp.h>
#include <amqp_tcp_socket.h>
#include <hiredis/hiredis.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>

/*
 * Redis reads 16 KiB of a connection, or one longer value, and syncs its file before it reads on: with
 * "appendfsync always" several connections share a sync, and a single one would be no limit.
 */
enum { REDIS_CONNECTIONS = 16 };

enum { CHANNEL = 1, FRAME_BYTES = 131072, ID_LENGTH = 22, CLAIM_LIFE = 7 * 24 * 3600, SILENCE_MS = 30000 };

typedef char claim_id[ID_LENGTH + 1];

static struct {
    const char *prefix, *exchange, *routing_key, *type;
    char *bodies;
    size_t size, body_count;
    uint64_t events, window;
    double seconds;
} order;

static struct {
    redisContext *link;
    claim_id *ids; /* SET and not yet answered: those from `answered` to `asked`, n in slot n % window */
    uint64_t asked, answered;
} redis[REDIS_CONNECTIONS];

static amqp_connection_state_t broker;

static uint64_t started, published, confirmed; /* so many events have passed each gate */
static bool *is_confirmed;                     /* what was published nth, in slot n % window */

static void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static double cpu_seconds(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

/* 128 random bits, URL-safe, six bits a character. */
static void draw_id(claim_id id)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    unsigned char random[ID_LENGTH];
    if (getrandom(random, sizeof random, 0) != sizeof random) fail("no random bytes");
    for (int i = 0; i < ID_LENGTH; i++) id[i] = alphabet[random[i] & 63];
    id[ID_LENGTH] = 0;
}

/* Gate 1: append a SET to the pipeline of a connection. */
static void check_in(uint64_t event)
{
    char key[256], expires[24];
    int to = event % REDIS_CONNECTIONS;
    char *id = redis[to].ids[redis[to].asked++ % order.window];
    draw_id(id);
    const char *words[] = {"SET", key, order.bodies + event % order.body_count * order.size, "EXAT", expires};
    size_t lengths[] = {3, 0, order.size, 4, 0};
    lengths[1] = snprintf(key, sizeof key, "%sclaim:{%s}", order.prefix, id);
    lengths[4] = snprintf(expires, sizeof expires, "%lld", (long long)time(NULL) + CLAIM_LIFE);
    if (redisAppendCommandArgv(redis[to].link, 5, words, lengths) != REDIS_OK) fail("no memory");
}

/* Gate 2: publish the ticket of a claim that Redis holds. */
static void publish(const char *id)
{
    time_t created = time(NULL);
    amqp_table_entry_t expires = {.key = amqp_cstring_bytes("expires"),
                                  .value = {.kind = AMQP_FIELD_KIND_I64, .value.i64 = created + CLAIM_LIFE}};
    amqp_basic_properties_t properties = {
        ._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_MESSAGE_ID_FLAG |
                  AMQP_BASIC_TIMESTAMP_FLAG | AMQP_BASIC_TYPE_FLAG | AMQP_BASIC_HEADERS_FLAG,
        .content_type = amqp_cstring_bytes("application/vnd.claimbus.ticket"),
        .delivery_mode = AMQP_DELIVERY_PERSISTENT,
        .message_id = amqp_cstring_bytes(id),
        .timestamp = created,
        .type = amqp_cstring_bytes(order.type),
        .headers = {.num_entries = 1, .entries = &expires},
    };
    int status = amqp_basic_publish(broker, CHANNEL, amqp_cstring_bytes(order.exchange),
                                    amqp_cstring_bytes(order.routing_key), /* mandatory */ 1, /* immediate */ 0,
                                    &properties, amqp_cstring_bytes(id));
    if (status != AMQP_STATUS_OK) fail("RabbitMQ: %s", amqp_error_string2(status));
}

/* Gate 3: note a confirm; delivery tags count from 1. */
static void confirm(const amqp_basic_ack_t *ack)
{
    for (uint64_t tag = ack->multiple ? confirmed + 1 : ack->delivery_tag; tag <= ack->delivery_tag; tag++)
        is_confirmed[(tag - 1) % order.window] = true;
    for (; confirmed < published && is_confirmed[confirmed % order.window]; confirmed++)
        is_confirmed[confirmed % order.window] = false;
}

static void write_redis(redisContext *link)
{
    for (int done = 0; !done;)
        if (redisBufferWrite(link, &done) != REDIS_OK) fail("Redis: %s", link->errstr);
}

static void read_redis(int from)
{
    redisContext *link = redis[from].link;
    redisReply *reply;
    int status = redisBufferRead(link);
    while (status == REDIS_OK && (status = redisGetReplyFromReader(link, (void **)&reply)) == REDIS_OK && reply) {
        if (reply->type != REDIS_REPLY_STATUS) fail("Redis refused a SET: %s", reply->str);
        freeReplyObject(reply);
        publish(redis[from].ids[redis[from].answered++ % order.window]);
        published++;
    }
    if (status != REDIS_OK) fail("Redis: %s", link->errstr);
}

static void read_broker(void)
{
    struct timeval at_once = {0, 0};
    amqp_frame_t frame;
    int status;
    while ((status = amqp_simple_wait_frame_noblock(broker, &frame, &at_once)) == AMQP_STATUS_OK) {
        if (frame.frame_type != AMQP_FRAME_METHOD || frame.payload.method.id != AMQP_BASIC_ACK_METHOD)
            fail("RabbitMQ sent something else than a confirm: method %#x", frame.payload.method.id);
        confirm(frame.payload.method.decoded);
    }
    if (status != AMQP_STATUS_TIMEOUT) fail("RabbitMQ: %s", amqp_error_string2(status));
    amqp_maybe_release_buffers(broker);
}

static void carry_all_through(void)
{
    struct pollfd wait[REDIS_CONNECTIONS + 1];
    for (int i = 0; i < REDIS_CONNECTIONS; i++) wait[i] = (struct pollfd){.fd = redis[i].link->fd, .events = POLLIN};
    wait[REDIS_CONNECTIONS] = (struct pollfd){.fd = amqp_get_sockfd(broker), .events = POLLIN};

    double deadline = now() + order.seconds;
    bool is_over = false;
    while (!is_over || confirmed < started) {
        is_over = is_over || started == order.events || now() > deadline;
        while (!is_over && started < order.events && started - confirmed < order.window) check_in(started++);
        for (int i = 0; i < REDIS_CONNECTIONS; i++) write_redis(redis[i].link);
        if (confirmed < started && poll(wait, REDIS_CONNECTIONS + 1, SILENCE_MS) <= 0) fail("no server answers");
        for (int i = 0; i < REDIS_CONNECTIONS; i++)
            if (wait[i].revents) read_redis(i);
        if (wait[REDIS_CONNECTIONS].revents) read_broker();
    }
}

static void connect_redis(const char *host, int port)
{
    for (int i = 0; i < REDIS_CONNECTIONS; i++) {
        redis[i].link = redisConnect(host, port);
        redis[i].ids = calloc(order.window, sizeof *redis[i].ids);
        if (!redis[i].link || redis[i].link->err) fail("Redis does not answer at %s:%d", host, port);
    }
}

static void expect(amqp_rpc_reply_t reply, const char *step)
{
    if (reply.reply_type != AMQP_RESPONSE_NORMAL) fail("RabbitMQ: %s failed", step);
}

static void connect_broker(void)
{
    struct amqp_connection_info at;
    char *url = getenv("CLAIMBUS_AMQP_URL");
    if (!url || amqp_parse_url(url, &at) != AMQP_STATUS_OK) fail("CLAIMBUS_AMQP_URL is not set, or no AMQP URL");
    broker = amqp_new_connection();
    if (amqp_socket_open(amqp_tcp_socket_new(broker), at.host, at.port) != AMQP_STATUS_OK)
        fail("RabbitMQ does not answer at %s:%d", at.host, at.port);
    expect(amqp_login(broker, at.vhost, 0, FRAME_BYTES, 0, AMQP_SASL_METHOD_PLAIN, at.user, at.password), "login");
    amqp_channel_open(broker, CHANNEL);
    expect(amqp_get_rpc_reply(broker), "opening a channel");
    amqp_confirm_select(broker, CHANNEL);
    expect(amqp_get_rpc_reply(broker), "confirm.select");
}

static void read_bodies(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END)) fail("cannot read %s", path);
    order.body_count = ftell(file) / order.size;
    order.bodies = malloc(order.body_count * order.size);
    rewind(file);
    if (!order.body_count || fread(order.bodies, order.size, order.body_count, file) != order.body_count)
        fail("%s holds no body of %zu bytes", path, order.size);
    fclose(file);
}

int main(int count, char **words)
{
    if (count != 12) fail("usage: see the head of publish.c");
    order.prefix = words[3];
    order.exchange = words[4];
    order.routing_key = words[5];
    order.type = words[6];
    order.size = strtoull(words[8], NULL, 10);
    order.events = strtoull(words[9], NULL, 10);
    order.seconds = strtod(words[10], NULL);
    order.window = strtoull(words[11], NULL, 10);
    read_bodies(words[7]);
    is_confirmed = calloc(order.window, sizeof *is_confirmed);
    connect_redis(words[1], atoi(words[2]));
    connect_broker();

    double began = now(), cpu_began = cpu_seconds();
    carry_all_through();
    printf("{\"count\": %llu, \"seconds\": %.6f, \"cpu_seconds\": %.6f, \"settings\": {", (unsigned long long)confirmed,
           now() - began, cpu_seconds() - cpu_began);
    printf("\"client\": \"librabbitmq %s, hiredis %d.%d.%d, in C\", ", amqp_version(), HIREDIS_MAJOR, HIREDIS_MINOR,
           HIREDIS_PATCH);
    printf("\"message\": \"ticket, the body in Redis before\", \"window\": %llu, \"prefetch\": \"%s\", "
           "\"delivery\": \"%s\"}}\n",
           (unsigned long long)order.window, "none, nothing is consumed",
           "durable quorum queue, persistent, mandatory, confirmed");
    return 0;
}
