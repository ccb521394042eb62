// See sha1.h.
#include "sha1.h"

#include <string.h>

enum { BLOCK = 64 };

static uint32_t rotate(uint32_t value, int bits) {
    return value << bits | value >> (32 - bits);
}

static void put_be32(uint8_t *to, uint32_t value) {
    for (int i = 0; i < 4; i++) to[i] = (uint8_t)(value >> (24 - 8 * i));
}

// The 80 words of one block.
static void schedule(const uint8_t block[BLOCK], uint32_t words[80]) {
    for (int i = 0; i < 16; i++) {
        const uint8_t *b = block + 4 * i;
        words[i] = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
    }
    for (int i = 16; i < 80; i++)
        words[i] = rotate(words[i - 3] ^ words[i - 8] ^ words[i - 14] ^ words[i - 16], 1);
}

// The function and the constant of round `i`.
static uint32_t mix(int i, uint32_t b, uint32_t c, uint32_t d) {
    if (i < 20) return ((b & c) | (~b & d)) + 0x5a827999;
    if (i < 40) return (b ^ c ^ d) + 0x6ed9eba1;
    if (i < 60) return ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc;
    return (b ^ c ^ d) + 0xca62c1d6;
}

static void compress(uint32_t state[5], const uint8_t block[BLOCK]) {
    uint32_t words[80], s[5];
    schedule(block, words);
    memcpy(s, state, sizeof s);
    for (int i = 0; i < 80; i++) {
        uint32_t next = rotate(s[0], 5) + mix(i, s[1], s[2], s[3]) + s[4] + words[i];
        s[4] = s[3];
        s[3] = s[2];
        s[2] = rotate(s[1], 30);
        s[1] = s[0];
        s[0] = next;
    }
    for (int i = 0; i < 5; i++) state[i] += s[i];
}

void sha1(const void *input, size_t length, uint8_t digest[SHA1_BYTES]) {
    uint8_t padded[2 * BLOCK] = {0};
    uint32_t state[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    // One bit and the length in bits follow the input: 9 bytes at least.
    size_t size = length + 9 <= BLOCK ? BLOCK : 2 * BLOCK;
    memcpy(padded, input, length);
    padded[length] = 0x80;
    put_be32(padded + size - 4, (uint32_t)(8 * length));
    for (size_t at = 0; at < size; at += BLOCK) compress(state, padded + at);
    for (int i = 0; i < 5; i++) put_be32(digest + 4 * i, state[i]);
}

size_t base64(const uint8_t *input, size_t length, char *output) {
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t written = 0;
    for (size_t at = 0; at < length; at += 3) {
        size_t left = length - at;
        uint32_t group = (uint32_t)input[at] << 16;
        if (left > 1) group |= (uint32_t)input[at + 1] << 8;
        if (left > 2) group |= input[at + 2];
        output[written++] = digits[group >> 18];
        output[written++] = digits[group >> 12 & 63];
        output[written++] = left > 1 ? digits[group >> 6 & 63] : '=';
        output[written++] = left > 2 ? digits[group & 63] : '=';
    }
    return written;
}
