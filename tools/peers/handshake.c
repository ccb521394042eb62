// See handshake.h.
#define _GNU_SOURCE
#include "handshake.h"

#include <stdio.h>
#include <string.h>

#include "sha1.h"

enum { KEY = 24 };

static const char GUID[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

// Copies the value of Sec-WebSocket-Key; 0 if there is none of the right length.
static int find_key(const char *request, char key[KEY]) {
    static const char name[] = "\r\nSec-WebSocket-Key:";
    const char *value = strcasestr(request, name);
    if (!value) return 0;
    value += sizeof name - 1;
    value += strspn(value, " \t");
    if (strcspn(value, " \t\r\n") != KEY) return 0;
    memcpy(key, value, KEY);
    return 1;
}

size_t handshake_answer(const char *request, char answer[HANDSHAKE_ANSWER_MAX]) {
    char joined[KEY + sizeof GUID - 1], accept[32];
    unsigned char digest[SHA1_BYTES];
    if (!find_key(request, joined)) return 0;
    memcpy(joined + KEY, GUID, sizeof GUID - 1);
    sha1(joined, sizeof joined, digest);
    int length = (int)base64(digest, sizeof digest, accept);
    return (size_t)snprintf(answer, HANDSHAKE_ANSWER_MAX,
                            "HTTP/1.1 101 Switching Protocols\r\n"
                            "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                            "Sec-WebSocket-Accept: %.*s\r\n\r\n",
                            length, accept);
}
