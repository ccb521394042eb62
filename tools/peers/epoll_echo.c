// A bare WebSocket echo on edge-triggered epoll: the floor for speed.
//
// One system call reads what a connection sent into a buffer that all share, the frame is unmasked
// where it lies, its header is written in front of it, and one send answers from there. What is
// registered with epoll is never changed. A connection owns memory only while a frame is incomplete
// or an answer could not be sent at once.
//
// It leaves out every check (UTF-8, reserved bits, order of fragments, masking), all timeouts, and
// puts no message together: each frame is answered by a frame. Connections whose path begins with
// /rooms/ share one room: a frame of one goes to all of them, and who cannot take it loses it.
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "handshake.h"
#include "peer.h"

enum {
    BUFFER = 64 * 1024,
    HEADROOM = 16,          // for the beginning of a header that an earlier read brought
    HEADER_MAX = 14,
    FRAME_MAX = 16 * 1024 * 1024 + HEADER_MAX,
    BATCH = 1024,
    LOST = EPOLLHUP | EPOLLERR, // reset, so nothing that waits can be sent any more
};
enum { TEXT_OR_BINARY_MAX = 0x2, CLOSE = 0x8, PING = 0x9, PONG = 0xa };

// Bytes that wait: an incomplete frame, or the rest of what could not be sent.
struct rest {
    size_t done, size; // read so far or sent so far, and the whole
    uint8_t bytes[];
};

struct connection {
    struct rest *in, *out;
    uint32_t member; // its place in the room
    bool open, in_room, closing;
};

static uint8_t area[HEADROOM + BUFFER];
static uint8_t *const buffer = area + HEADROOM;
static struct connection *connections; // by descriptor
static int *room, room_size;
static int epoll, listener;

static struct rest *rest_new(const uint8_t *bytes, size_t length, size_t size) {
    struct rest *rest = malloc(sizeof *rest + size);
    if (!rest) peer_fail("malloc");
    *rest = (struct rest){.done = length, .size = size};
    memcpy(rest->bytes, bytes, length);
    return rest;
}

static void leave_room(struct connection *c) {
    int last = room[--room_size];
    room[c->member] = last;
    connections[last].member = c->member;
}

static void drop(int fd) {
    struct connection *c = &connections[fd];
    if (c->in_room) leave_room(c);
    free(c->in);
    free(c->out);
    *c = (struct connection){0};
    close(fd);
}

// ---- sending ------------------------------------------------------------------------------------

// Puts bytes behind those that wait already.
static void queue(struct connection *c, const uint8_t *bytes, size_t length) {
    size_t waiting = c->out ? c->out->size : 0;
    struct rest *out = realloc(c->out, sizeof *out + waiting + length);
    if (!out) peer_fail("realloc");
    if (!waiting) out->done = 0;
    memcpy(out->bytes + waiting, bytes, length);
    out->size = waiting + length;
    c->out = out;
}

// Sends what it can at once; false if nothing of it could be sent. An error makes an event, too.
static bool try_send(int fd, const uint8_t *bytes, size_t length) {
    ssize_t sent = send(fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (__builtin_expect(sent == (ssize_t)length, 1)) return true;
    if (sent <= 0) return false;
    queue(&connections[fd], bytes + sent, length - (size_t)sent);
    return true;
}

static void answer(int fd, const uint8_t *bytes, size_t length) {
    struct connection *c = &connections[fd];
    if (__builtin_expect(c->out != NULL, 0) || !try_send(fd, bytes, length))
        queue(c, bytes, length);
}

static void to_room(const uint8_t *bytes, size_t length) {
    for (int i = 0; i < room_size; i++)
        if (!connections[room[i]].out) try_send(room[i], bytes, length);
}

// Sends what waits; false if some still does.
static bool flush(int fd) {
    struct rest *out = connections[fd].out;
    ssize_t sent = send(fd, out->bytes + out->done, out->size - out->done, MSG_NOSIGNAL);
    if (sent > 0) out->done += (size_t)sent;
    if (out->done < out->size) return false;
    free(out);
    connections[fd].out = NULL;
    return true;
}

// ---- frames -------------------------------------------------------------------------------------

// The length of the header, or 0 as long as it cannot be told; the payload's with it.
static size_t header(const uint8_t *frame, size_t length, uint64_t *payload) {
    uint16_t two;
    if (length < 2) return 0;
    *payload = frame[1] & 0x7f;
    if (*payload < 126) return 6;
    if (*payload == 126) {
        if (length < 4) return 0;
        memcpy(&two, frame + 2, 2);
        *payload = be16toh(two);
        return 8;
    }
    if (length < 10) return 0;
    memcpy(payload, frame + 2, 8);
    *payload = be64toh(*payload);
    return HEADER_MAX;
}

static void unmask(uint8_t *payload, size_t length, const uint8_t *key) {
    uint64_t word, mask;
    memcpy(&mask, key, 4);
    memcpy((uint8_t *)&mask + 4, key, 4);
    for (; length >= 8; payload += 8, length -= 8) {
        memcpy(&word, payload, 8);
        word ^= mask;
        memcpy(payload, &word, 8);
    }
    for (size_t i = 0; i < length; i++) payload[i] ^= ((uint8_t *)&mask)[i];
}

// Writes the header of an answer in front of its payload, and returns where it begins.
static uint8_t *put_header(uint8_t *payload, uint64_t length, uint8_t first) {
    uint8_t *head = payload - (length < 126 ? 2 : length < 65536 ? 4 : 10);
    uint16_t two = htobe16((uint16_t)length);
    uint64_t eight = htobe64(length);
    head[0] = first;
    head[1] = length < 126 ? (uint8_t)length : length < 65536 ? 126 : 127;
    if (head[1] == 126) memcpy(head + 2, &two, 2);
    if (head[1] == 127) memcpy(head + 2, &eight, 8);
    return head;
}

// Answers one whole frame, in place.
static void on_frame(int fd, uint8_t *frame, size_t head, uint64_t length) {
    struct connection *c = &connections[fd];
    uint8_t *payload = frame + head, first = frame[0], opcode = first & 0xf;
    if (opcode == PONG) return;
    unmask(payload, length, payload - 4);
    if (opcode == PING) first = 0x80 | PONG;
    uint8_t *reply = put_header(payload, length, first);
    length += (uint64_t)(payload - reply);
    if (c->in_room && opcode <= TEXT_OR_BINARY_MAX) to_room(reply, length);
    else answer(fd, reply, length);
    c->closing = opcode == CLOSE;
}

// Answers the whole frames among these bytes, keeps an incomplete one; false if it is too long.
static bool on_bytes(int fd, uint8_t *bytes, size_t length) {
    struct connection *c = &connections[fd];
    while (length && !c->closing) {
        uint64_t payload = 0;
        size_t head = header(bytes, length, &payload);
        if (payload > FRAME_MAX - HEADER_MAX) return false;
        size_t whole = head + payload;
        if (!head || length < whole) {
            // Without a whole header it is kept as it is, and the next read is put behind it.
            c->in = rest_new(bytes, length, length < head || !head ? length : whole);
            return true;
        }
        on_frame(fd, bytes, head, payload);
        bytes += whole;
        length -= whole;
    }
    return true;
}

// ---- reading ------------------------------------------------------------------------------------

// The rest of an incomplete frame goes where its beginning is, and what follows into the buffer.
static ssize_t read_rest(int fd, struct rest *in) {
    struct iovec parts[2] = {{in->bytes + in->done, in->size - in->done}, {buffer, BUFFER}};
    return readv(fd, parts, 2);
}

// Takes up an incomplete frame with the `length` bytes of read_rest.
static bool on_rest(int fd, size_t length) {
    struct connection *c = &connections[fd];
    struct rest *in = c->in;
    size_t missing = in->size - in->done;
    if (missing && length < missing) {
        in->done += length;
        return true;
    }
    c->in = NULL;
    uint8_t *from = buffer;
    length -= missing;
    bool sound = true;
    if (missing) {
        sound = on_bytes(fd, in->bytes, in->size);
    } else { // the beginning of a header, at most 13 bytes
        from -= in->size;
        memcpy(from, in->bytes, in->size);
        length += in->size;
    }
    free(in);
    return sound && on_bytes(fd, from, length);
}

// What a read, or the opening handshake, found: the buffer was filled or there is more for sure;
// all that had arrived; nothing; a connection that is to be dropped.
enum found { MORE, ALL, NOTHING, BROKEN };

// An edge comes for what arrives after a read that was not filled, so a message takes one read.
static enum found read_once(int fd) {
    struct rest *in = connections[fd].in;
    size_t asked = BUFFER + (in ? in->size - in->done : 0);
    ssize_t length = in ? read_rest(fd, in) : recv(fd, buffer, BUFFER, 0);
    if (length <= 0) return length < 0 && errno == EAGAIN ? NOTHING : BROKEN;
    bool sound = in ? on_rest(fd, (size_t)length) : on_bytes(fd, buffer, (size_t)length);
    if (!sound) return BROKEN;
    return (size_t)length < asked ? ALL : MORE;
}

static void join_room(int fd) {
    connections[fd].in_room = true;
    connections[fd].member = (uint32_t)room_size;
    room[room_size++] = fd;
}

// Answers the opening handshake once it is there as a whole; until then it stays in the kernel.
static enum found open_connection(int fd) {
    char reply[HANDSHAKE_ANSWER_MAX], *request = (char *)buffer;
    ssize_t length = recv(fd, request, BUFFER - 1, MSG_PEEK);
    if (length <= 0) return length < 0 && errno == EAGAIN ? NOTHING : BROKEN;
    request[length] = 0;
    char *end = strstr(request, "\r\n\r\n");
    if (!end) return length < BUFFER - 1 ? NOTHING : BROKEN;
    end += 4;
    bool followed = end < request + length;
    if (recv(fd, request, (size_t)(end - request), 0) != end - request) return BROKEN;
    *end = 0;
    size_t size = handshake_answer(request, reply);
    if (!size) return BROKEN;
    connections[fd].open = true;
    answer(fd, (uint8_t *)reply, size);
    if (strncmp(request, "GET /rooms/", 11) == 0) join_room(fd);
    return followed ? MORE : ALL;
}

// While an answer waits nothing is read, so a client that does not read cannot make it grow.
static void on_event(int fd, uint32_t events) {
    struct connection *c = &connections[fd];
    if (events & LOST) {
        drop(fd);
        return;
    }
    if (__builtin_expect(c->out != NULL, 0)) {
        if (!flush(fd)) return;
        events |= EPOLLIN;
    }
    if (!(events & (EPOLLIN | EPOLLRDHUP))) return;
    enum found found = c->open ? MORE : open_connection(fd);
    // The end of a stream makes no further edge, so where it is known to come it is read up to.
    while ((found == MORE || (found == ALL && events & EPOLLRDHUP)) && !c->closing && !c->out)
        found = read_once(fd);
    bool half_open = !c->open && events & EPOLLRDHUP;
    if (found == BROKEN || half_open || (c->closing && !c->out)) drop(fd);
}

static void accept_all(void) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED)) continue;
        if (fd < 0) return;
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET};
        event.data.fd = fd;
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) peer_fail("epoll_ctl");
    }
}

// What is accepted waits for the end of the batch, so no event of a batch meets a later connection.
static void serve(void) {
    static struct epoll_event events[BATCH];
    for (;;) {
        bool accepting = false;
        int count = epoll_wait(epoll, events, BATCH, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == listener) accepting = true;
            else on_event(events[i].data.fd, events[i].events);
        }
        if (accepting) accept_all();
    }
}

int main(int argc, char **argv) {
    int port = peer_port(argc, argv);
    size_t files = (size_t)peer_raise_files();
    connections = calloc(files, sizeof *connections);
    room = calloc(files, sizeof *room);
    if (!connections || !room) peer_fail("calloc");
    listener = peer_listen(port);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.fd = listener};
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) < 0) peer_fail("epoll");
    peer_announce("epoll_echo 1, edge-triggered epoll, batch 1024, one shared buffer of 64 KiB");
    serve();
}
