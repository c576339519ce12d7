/* The wire of the starter: one connection, frames of packets, and keys that nobody guesses. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <unistd.h>
#include "json.h"

#define MAX_FRAME 1048576

struct transaction { char key[40]; char *room_id, *content; struct transaction *next; }; /* waits for confirm_count */
struct client {
    int socket;
    const char *name; /* set by login */
    struct transaction *transactions;
    pthread_mutex_t sending; /* two threads must not mix their bytes */
};

/* Send one packet as one frame: 4 bytes of length, big-endian, then the JSON. In `form`, %s stands for a text, which
 * is quoted here, %d for a number, and %j for JSON as it is. */
static void reply(struct client *client, const char *form, ...) {
    char *payload;
    size_t length, sent = 0;
    FILE *out = open_memstream(&payload, &length);
    fwrite("\0\0\0\0", 1, 4, out);
    va_list values;
    va_start(values, form);
    for (; *form; form++) {
        if (*form != '%') putc(*form, out);
        else if (*++form == 's') put_text(out, va_arg(values, const char *));
        else if (*form == 'd') fprintf(out, "%ld", va_arg(values, long));
        else fputs(va_arg(values, const char *), out);
    }
    va_end(values);
    fclose(out);
    uint32_t header = htonl(length - 4);
    memcpy(payload, &header, 4);
    pthread_mutex_lock(&client->sending);
    for (ssize_t n; sent < length && (n = write(client->socket, payload + sent, length - sent)) > 0; sent += n) {}
    pthread_mutex_unlock(&client->sending);
    free(payload);
}

static void error(struct client *client, const char *original, const char *code, const char *message) {
    reply(client, "{\"action\":\"error\",\"status\":\"error\",\"message\":%s,\"original_action\":%s,\"code\":%s}", message, original, code);
}

/* Fill `key` (40 bytes) with a prefix and random digits. */
static void random_key(char *key, const char *prefix) {
    unsigned char random[16];
    if (getentropy(random, sizeof random) != 0) abort();
    key += sprintf(key, "%s", prefix);
    for (int i = 0; i < 16; i++) key += sprintf(key, "%02x", random[i]);
}

/* TCP may hand over half a frame or three: read until all of it is there. Return 0 at the end. */
static int read_all(int socket, void *to, size_t length) {
    for (ssize_t n; length > 0; to = (char *)to + n, length -= n)
        if ((n = read(socket, to, length)) <= 0) return 0;
    return 1;
}

/* Return the text of the next packet, which is a JSON object (the caller frees it), or NULL at the end. */
static char *receive(struct client *client) {
    uint32_t length;
    if (!read_all(client->socket, &length, 4)) return NULL;
    length = ntohl(length);
    if (length < 1 || length > MAX_FRAME) {
        error(client, "unknown", "bad_frame", "a frame of this length can't be read");
        return NULL;
    }
    char *packet = calloc(length + 1, 1); /* the byte more ends the text */
    if (read_all(client->socket, packet, length) && *blanks(packet) == '{') {
        const char *behind = value(packet, 1);
        if (behind && blanks(behind) == packet + length) return packet;
    }
    free(packet); /* TODO: answer bad_json, and go on (R-JSON-9) */
    return NULL;
}

static void stop(const char *why) {
    fprintf(stderr, "cannot listen: %s\n", why);
    exit(1);
}

/* Listen at a port of this computer, say which one it is, and return the socket. */
static int listen_at(const char *port) {
    char *end;
    long number = strtol(port, &end, 10);
    if (*port == 0 || *end != 0 || number < 0 || number > 65535) stop("the port must be a number from 0 to 65535");
    int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(number), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, size) != 0 || listen(listener, 100) != 0) stop(strerror(errno));
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("listening on 127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}
