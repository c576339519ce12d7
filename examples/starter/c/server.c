/* A chat server to begin with: it knows login and send_message, and nothing else yet.
 *
 *     cc -pthread -o chat server.c
 *     ./chat [PORT]
 *
 * The protocol is in PROTOCOL.md. Each client has a thread; one lock guards what they share.
 * What is missing is marked with TODO. */
#include "wire.h"
#include <signal.h>
#include <time.h>

static const char *NAMES[] = {"anna", "ben", "carla", "dora", "emil", "fay"};
enum { ACCOUNTS = 6 };

struct message { long id; char timestamp[32]; const char *sender; char *room_id, *content; struct message *next; };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards all of these: */
static struct client *clients[ACCOUNTS]; /* who is on, in the order of NAMES */
static struct message *messages;         /* of all rooms, the newest first */

static void login(struct client *client, const char *chatid, const char *password) {
    char key[40];
    if (client->name) {
        error(client, "login", "forbidden", "this connection is logged in already");
        return;
    }
    pthread_mutex_lock(&lock);
    for (int i = 0; i < ACCOUNTS; i++) {
        int right = strcmp(chatid, NAMES[i]) == 0 && strncmp(password, "pw-", 3) == 0 && strcmp(password + 3, chatid) == 0;
        if (right && clients[i] == NULL) clients[i] = client, client->name = NAMES[i];
    }
    pthread_mutex_unlock(&lock);
    random_key(key, ""); /* TODO: a login with the key (R-SESS-8) */
    if (client->name) reply(client, "{\"action\":\"login_success\",\"status\":\"success\",\"message\":\"Login successful\","
        "\"data\":{\"chatid\":%s,\"session_key\":%s}}", chatid, key);
    else reply(client, "{\"action\":\"login_fail\",\"status\":\"error\",\"message\":\"Invalid credentials or user already logged in\"}");
}

/* Begin the first handshake: tell the sender which letters arrived; store nothing yet. */
static void send_message(struct client *client, const char *room_id, const char *content) {
    struct transaction *new = malloc(sizeof *new);
    *new = (struct transaction){"", strdup(room_id), strdup(content), client->transactions};
    random_key(new->key, "t-"); /* TODO: another's name in chatid is forbidden (R-SESS-7) */
    client->transactions = new;
    int *counts = calloc(0x110000, sizeof *counts); /* one for each code point: a char may be part of a letter */
    while (*content) counts[take_letter(&content)]++;
    char *letters, *comma = "";
    size_t length;
    FILE *out = open_memstream(&letters, &length);
    for (unsigned c = 0; c < 0x110000; c++) {
        if (counts[c] == 0) continue;
        char letter[8];
        *put_letter(letter, c) = 0;
        fputs(comma, out), put_text(out, letter), fprintf(out, ":%d", counts[c]), comma = ",";
    }
    fclose(out);
    reply(client, "{\"action\":\"character_count\",\"data\":{\"transaction_id\":%s,\"letter_frequencies\":{%j},"
        "\"original_action\":\"send_message\"}}", new->key, letters);
    free(letters), free(counts);
}

/* End it: the sender says whether the letters are right. Store and hand on, or drop. */
static void confirm_count(struct client *client, const char *key, int confirm) {
    struct transaction **place = &client->transactions, *open;
    while (*place && strcmp((*place)->key, key) != 0) place = &(*place)->next;
    if ((open = *place) == NULL) {
        error(client, "confirm_count", "transaction_not_found", "no such transaction is open");
        return;
    }
    *place = open->next;
    if (!confirm) {
        reply(client, "{\"action\":\"ack\",\"status\":\"error\",\"message\":\"You did not confirm the counts: the message was dropped.\","
            "\"code\":\"not_confirmed\",\"data\":{\"transaction_id\":%s}}", key);
        free(open->room_id), free(open->content), free(open);
        return;
    }
    struct message *new = malloc(sizeof *new);
    time_t now = time(NULL);
    strftime(new->timestamp, sizeof new->timestamp, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &(struct tm){0}));
    new->sender = client->name, new->room_id = open->room_id, new->content = open->content;
    pthread_mutex_lock(&lock); /* numbering and sending are one step, so everybody gets them in the same order */
    new->id = messages ? messages->id + 1 : 1, new->next = messages, messages = new; /* TODO: get_messages (R-HIST-1) */
    reply(client, "{\"action\":\"ack\",\"status\":\"success\",\"message\":\"Action processed successfully.\",\"data\":{"
        "\"transaction_id\":%s,\"message_id\":%d,\"timestamp\":%s}}", key, new->id, new->timestamp);
    random_key(open->key, "r-");
    for (int i = 0; i < ACCOUNTS; i++) { /* TODO: who does not read makes all wait: a thread for each */
        if (clients[i] == NULL || clients[i] == client) continue;
        reply(clients[i], "{\"action\":\"receive_message\",\"status\":\"success\",\"message\":\"New message received.\",\"data\":{"
            "\"transaction_id\":%s,\"room_id\":%s,\"sender_chatid\":%s,\"content\":%s,\"message_id\":%d,\"timestamp\":%s}}",
            open->key, new->room_id, new->sender, new->content, new->id, new->timestamp);
    }
    pthread_mutex_unlock(&lock);
    free(open); /* TODO: the second handshake: each receiver counts too (R-MSG-16 to R-MSG-18) */
}

/* Answer one packet: its text, which value() passed. */
static void handle(struct client *client, const char *packet) {
    const char *data = member(packet, "data"), *flag = member(data, "confirm");
    char *action = text_of(member(packet, "action")), *text[5], why[60];
    const char *keys[6] = {"chatid", "password", "room_id", "content", "transaction_id", "confirm"};
    for (int i = 0; i < 5; i++) text[i] = text_of(member(data, keys[i]));
    if (action == NULL) action = strdup("null"); /* it is missing, or no string */
    int is_login = strcmp(action, "login") == 0, is_send = strcmp(action, "send_message") == 0;
    int first = is_login ? 0 : is_send ? 2 : 4, wrong = first + (text[first] != NULL); /* of its two keys */
    snprintf(why, sizeof why, "data.%s: expected %s", keys[wrong], wrong == 5 ? "true or false" : "a text");
    if (!is_login && !is_send && strcmp(action, "confirm_count") != 0) {
        const char *end = action;
        for (int i = 0; i < 64 && *end; i++) take_letter(&end);
        action[end - action] = 0;
        error(client, action, "unknown_action", "this server does not know this action");
    } else if (client->name == NULL && !is_login) error(client, action, "not_logged_in", "this needs a login first");
    else if (is_login && text[0] && text[1]) login(client, text[0], text[1]);
    else if (is_send && text[2] && text[3]) send_message(client, text[2], text[3]);
    else if (!is_login && !is_send && text[4] && flag && (*flag == 't' || *flag == 'f')) confirm_count(client, text[4], *flag == 't');
    else error(client, action, "bad_packet", why);
    for (int i = 0; i < 5; i++) free(text[i]);
    free(action);
}

/* Serve one client from its first packet to its last. */
static void *serve(void *argument) {
    struct client *client = argument;
    for (char *packet; (packet = receive(client)); free(packet)) handle(client, packet);
    pthread_mutex_lock(&lock);
    for (int i = 0; i < ACCOUNTS; i++) if (clients[i] == client) clients[i] = NULL;
    pthread_mutex_unlock(&lock);
    close(client->socket);
    for (struct transaction *next, *one = client->transactions; one; one = next) {
        next = one->next;
        free(one->room_id), free(one->content), free(one);
    }
    free(client);
    return NULL;
}

int main(int count, char **arguments) {
    signal(SIGPIPE, SIG_IGN); /* who is gone misses it */
    int listener = listen_at(count > 1 ? arguments[1] : "9876");
    for (;;) {
        struct client *client = calloc(1, sizeof *client);
        pthread_t thread;
        if ((client->socket = accept(listener, NULL, NULL)) < 0) { /* too many are open: try again a moment later */
            perror("cannot accept"), free(client), usleep(100000);
            continue;
        }
        pthread_mutex_init(&client->sending, NULL);
        if (pthread_create(&thread, NULL, serve, client) == 0) pthread_detach(thread);
        else close(client->socket), free(client);
    }
}
