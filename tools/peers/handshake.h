// The server's side of the opening handshake of RFC 6455, without checks.
//
// Only the key is looked at (its name in any case): no method, no version, no origin, no
// subprotocol, no extension.
#ifndef HANDSHAKE_H
#define HANDSHAKE_H

#include <stddef.h>

enum { HANDSHAKE_ANSWER_MAX = 192 };

// Writes the answer to a complete request (NUL-terminated, ends with an empty line) and returns its
// length, or 0 if the request has no usable key.
size_t handshake_answer(const char *request, char answer[HANDSHAKE_ANSWER_MAX]);

#endif
