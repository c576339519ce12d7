/* JSON for the starter, as C's own library has none: it looks values up where they stand in the text.
 * A text is a char * that ends with a zero byte; the character U+0000 in it is kept as the bytes C0 80. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *blanks(const char *at) { return at + strspn(at, " \t\r\n"); }

/* Return how many bytes the character at `at` has (1 to 4), or 0 where this is no UTF-8. */
static int width(const char *at) {
    const unsigned char *b = (const unsigned char *)at;
    int n = b[0] < 0x80 ? 1 : b[0] < 0xE0 ? 2 : b[0] < 0xF0 ? 3 : 4;
    if ((b[0] >= 0x80 && b[0] < 0xC2) || b[0] > 0xF4) return 0;
    for (int i = 1; i < n; i++) if ((b[i] & 0xC0) != 0x80) return 0;
    if ((b[0] == 0xE0 && b[1] < 0xA0) || (b[0] == 0xF0 && b[1] < 0x90)) return 0; /* longer than it needs to be */
    return (b[0] == 0xED && b[1] > 0x9F) || (b[0] == 0xF4 && b[1] > 0x8F) ? 0 : n; /* half of a pair; too large */
}

/* Write the code point `c` as UTF-8, and return where the next one goes. */
static char *put_letter(char *out, unsigned c) {
    if (c > 0 && c < 0x80) { *out++ = c; return out; }
    if (c < 0x800) *out++ = 0xC0 | c >> 6;
    else {
        if (c < 0x10000) *out++ = 0xE0 | c >> 12;
        else { *out++ = 0xF0 | c >> 18; *out++ = 0x80 | (c >> 12 & 0x3F); }
        *out++ = 0x80 | (c >> 6 & 0x3F);
    }
    *out++ = 0x80 | (c & 0x3F);
    return out;
}

/* Read a code point of our own texts, which are right, and move on behind it. */
static unsigned take_letter(const char **at) {
    const unsigned char *b = (const unsigned char *)*at;
    int n = b[0] < 0x80 ? 1 : b[0] < 0xE0 ? 2 : b[0] < 0xF0 ? 3 : 4;
    unsigned c = n == 1 ? b[0] : b[0] & (0xFF >> (n + 1));
    for (int i = 1; i < n; i++) c = c << 6 | (b[i] & 0x3F);
    *at += n;
    return c;
}

/* Read the 4 digits behind \u; return -1 where there are none. */
static int hex4(const char *at) {
    return strspn(at, "0123456789abcdefABCDEF") < 4 ? -1 : (int)strtol((char[]){at[0], at[1], at[2], at[3], 0}, NULL, 16);
}

/* Pass the string at `at`; return what is behind it, or NULL where it is no string. If `out` is given,
 * write its text there: it is never longer than its JSON. */
static const char *string(const char *at, char *out) {
    char nowhere[8];
    if (*at++ != '"') return NULL;
    while (*at != '"') {
        char *to = out ? out : nowhere;
        int n = width(at);
        if (n == 0 || (unsigned char)*at < ' ') return NULL; /* the end, too */
        if (*at != '\\') {
            memcpy(to, at, n);
            at += n, to += n;
        } else if (at[1] != 'u') {
            const char *names = "\"\\/bfnrt", *escape = strchr(names, at[1]);
            if (escape == NULL || at[1] == 0) return NULL;
            *to++ = "\"\\/\b\f\n\r\t"[escape - names];
            at += 2;
        } else {
            int c = hex4(at + 2), low;
            at += 6;
            if (c < 0 || (c >= 0xDC00 && c <= 0xDFFF)) return NULL;
            if (c >= 0xD800 && c <= 0xDBFF) { /* two of these in a row make one emoji */
                if (at[0] != '\\' || at[1] != 'u' || (low = hex4(at + 2)) < 0xDC00 || low > 0xDFFF) return NULL;
                c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
                at += 6;
            }
            to = put_letter(to, c);
        }
        if (out) out = to;
    }
    if (out) *out = 0;
    return at + 1;
}

static const char *digits(const char *at) { return at && *at >= '0' && *at <= '9' ? at + strspn(at, "0123456789") : NULL; }

/* Pass the value at `at`; return what is behind it, or NULL where it is no JSON. */
static const char *value(const char *at, int depth) {
    at = blanks(at);
    if (depth > 32) return NULL; /* R-JSON-3 */
    if (*at == '"') return string(at, NULL);
    if (*at == '{' || *at == '[') {
        char end = *at == '{' ? '}' : ']';
        at = blanks(at + 1);
        if (*at == end) return at + 1;
        for (;; at++) {
            if (end == '}') {
                if ((at = string(blanks(at), NULL)) == NULL || *(at = blanks(at)) != ':') return NULL;
                at++;
            }
            if ((at = value(at, depth + 1)) == NULL) return NULL;
            at = blanks(at);
            if (*at == end) return at + 1;
            if (*at != ',') return NULL;
        }
    }
    if (strncmp(at, "true", 4) == 0 || strncmp(at, "null", 4) == 0) return at + 4;
    if (strncmp(at, "false", 5) == 0) return at + 5;
    at += *at == '-';
    at = *at == '0' ? at + 1 : digits(at);
    if (at && *at == '.') at = digits(at + 1);
    if (at && (*at == 'e' || *at == 'E')) at = digits(at + 1 + (at[1] == '+' || at[1] == '-'));
    return at;
}

/* Return where the value of a key begins in an object that value() passed, or NULL. The last one counts. */
static const char *member(const char *object, const char *key) {
    const char *found = NULL, *at = object == NULL ? "" : blanks(object);
    if (*at != '{' || *blanks(at + 1) == '}') return NULL;
    do {
        at = blanks(at + 1);
        char *name = malloc(string(at, NULL) - at + 1);
        const char *behind = blanks(string(at, name));
        at = blanks(behind + 1);
        if (strcmp(name, key) == 0) found = at;
        free(name);
        at = blanks(value(at, 1));
    } while (*at == ',');
    return found;
}

/* Return the text of the string at `at` (the caller frees it), or NULL where there is no string. */
static char *text_of(const char *at) {
    if (at == NULL || *at != '"') return NULL;
    char *text = malloc(string(at, NULL) - at + 1);
    string(at, text);
    return text;
}

/* Write a text as JSON. */
static void put_text(FILE *out, const char *text) {
    putc('"', out);
    while (*text) {
        const char *begin = text;
        unsigned c = take_letter(&text);
        if (c < ' ') fprintf(out, "\\u%04x", c);
        else {
            if (c == '"' || c == '\\') putc('\\', out);
            fwrite(begin, 1, text - begin, out);
        }
    }
    putc('"', out);
}
