// SHA-1 (FIPS 180-4) and base64 (RFC 4648), for the opening handshake.
//
// Short inputs in one piece only: no streaming, and no claim to speed.
#ifndef SHA1_H
#define SHA1_H

#include <stddef.h>
#include <stdint.h>

enum { SHA1_BYTES = 20, SHA1_MAX_INPUT = 119 };

// The digest of `length` bytes, at most SHA1_MAX_INPUT.
void sha1(const void *input, size_t length, uint8_t digest[SHA1_BYTES]);
// Writes `length` bytes as base64 and returns how many characters that took; no NUL.
size_t base64(const uint8_t *input, size_t length, char *output);

#endif
