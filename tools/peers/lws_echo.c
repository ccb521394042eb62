// A WebSocket echo with libwebsockets, on its poll, libuv or libev loop.
//
// As its documentation advises: what arrives is queued piece by piece, and the writable callback
// sends one piece a time, with flags that make the pieces fragments of the same message. Idle
// connections hold no piece. No extensions, no UTF-8 check (off by default in the library), no pings
// of its own and no timeout for idle connections.
//
//   --loop poll|uv|ev   the event loop; poll unless told
//   --lean              the library's buffers as small as is recommended; its defaults otherwise
//   --cert F --key F    over TLS, by the library that libwebsockets was built with
//
// The line that it prints has what the library itself says a connection takes.
#define _GNU_SOURCE
#include <libwebsockets.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "peer.h"

enum {
    LEAN_BUFFER = 512,
    LEAN_HEADER_BYTES = 1024,
    LEAN_HEADER_POOL = 64, // opening handshakes that are read at the same time
    QUEUE_PAUSE = 64,      // pieces that wait when nothing more is read,
    QUEUE_RESUME = 16,     // and when reading goes on
};

struct piece {
    struct piece *next;
    size_t length;
    enum lws_write_protocol flags;
    unsigned char bytes[]; // LWS_PRE bytes for the header, then the payload
};

struct session {
    struct piece *first, **last;
    int waiting;
};

static int keep(struct lws *wsi, struct session *session, const void *bytes, size_t length) {
    struct piece *piece = malloc(sizeof *piece + LWS_PRE + length);
    if (!piece) return -1;
    enum lws_write_protocol kind = lws_frame_is_binary(wsi) ? LWS_WRITE_BINARY : LWS_WRITE_TEXT;
    piece->next = NULL;
    piece->length = length;
    piece->flags = (enum lws_write_protocol)lws_write_ws_flags(
        (int)kind, lws_is_first_fragment(wsi), lws_is_final_fragment(wsi));
    memcpy(piece->bytes + LWS_PRE, bytes, length);
    *session->last = piece;
    session->last = &piece->next;
    if (++session->waiting == QUEUE_PAUSE) lws_rx_flow_control(wsi, 0);
    return lws_callback_on_writable(wsi) < 0 ? -1 : 0;
}

static struct piece *take(struct session *session) {
    struct piece *piece = session->first;
    if (!piece) return NULL;
    session->first = piece->next;
    if (!session->first) session->last = &session->first;
    session->waiting--;
    return piece;
}

static int send_one(struct lws *wsi, struct session *session) {
    struct piece *piece = take(session);
    if (!piece) return 0;
    int sent = lws_write(wsi, piece->bytes + LWS_PRE, piece->length, piece->flags);
    int failed = sent < (int)piece->length;
    free(piece);
    if (session->waiting == QUEUE_RESUME) lws_rx_flow_control(wsi, 1);
    if (!failed && session->first) lws_callback_on_writable(wsi);
    return failed ? -1 : 0;
}

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                    size_t length) {
    struct session *session = user;
    switch (reason) {
    case LWS_CALLBACK_ESTABLISHED:
        session->last = &session->first;
        return 0;
    case LWS_CALLBACK_RECEIVE:
        return keep(wsi, session, in, length);
    case LWS_CALLBACK_SERVER_WRITEABLE:
        return send_one(wsi, session);
    case LWS_CALLBACK_CLOSED:
        for (struct piece *piece; (piece = take(session));) free(piece);
        return 0;
    default:
        return lws_callback_http_dummy(wsi, reason, user, in, length);
    }
}

static void on_sigterm(int number) {
    (void)number;
    _exit(0);
}

// Debian ships the other loops as packages of their own; without one of them creation would fail.
static void require_loop(const char *loop) {
#if defined(LWS_WITH_EVLIB_PLUGINS)
    char path[256];
    snprintf(path, sizeof path, "%s/libwebsockets-evlib_%s.so", LWS_INSTALL_LIBDIR, loop);
    if (access(path, R_OK) == 0) return;
    fprintf(stderr, "lws_echo: %s is missing (Debian: libwebsockets-evlib-%s)\n", path, loop);
    exit(PEER_CANNOT_RUN);
#else
    (void)loop;
#endif
}

// The option for a loop of this name; ends the program if it is unknown or not built in.
static uint64_t loop_option(const char *loop) {
    if (strcmp(loop, "poll") == 0) return 0;
#if defined(LWS_WITH_LIBUV)
    if (strcmp(loop, "uv") == 0) return LWS_SERVER_OPTION_LIBUV;
#endif
#if defined(LWS_WITH_LIBEV)
    if (strcmp(loop, "ev") == 0) return LWS_SERVER_OPTION_LIBEV;
#endif
    fprintf(stderr, "lws_echo: this libwebsockets has no event loop '%s'\n", loop);
    exit(PEER_CANNOT_RUN);
}

static struct lws_context *create(int port, uint64_t loop, bool lean, const char *cert,
                                  const char *key) {
    static struct lws_protocols protocols[2] = {
        {.name = "echo", .callback = on_event, .per_session_data_size = sizeof(struct session)},
    };
    static const lws_retry_bo_t never = {0}; // without it: a ping after 300 s, an end after 310 s
    struct lws_context_creation_info info = {
        .port = port,
        .protocols = protocols,
        .retry_and_idle_policy = &never,
        .gid = (gid_t)-1,
        .uid = (uid_t)-1,
        .options = loop | LWS_SERVER_OPTION_DISABLE_IPV6 |
                   LWS_SERVER_OPTION_FAIL_UPON_UNABLE_TO_BIND,
    };
    if (cert) {
        info.ssl_cert_filepath = cert;
        info.ssl_private_key_filepath = key;
        info.options |= LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT;
    }
    if (lean) {
        protocols[0].rx_buffer_size = LEAN_BUFFER;
        info.pt_serv_buf_size = LEAN_BUFFER;
        info.max_http_header_data = LEAN_HEADER_BYTES;
        info.max_http_header_pool = LEAN_HEADER_POOL;
        info.options |= LWS_SERVER_OPTION_SKIP_SERVER_CANONICAL_NAME;
    }
    return lws_create_context(&info);
}

// What the library says while it creates a context: what a connection takes, and the last error.
static char per_connection[64], last_error[160];

static void copy_line(char *to, size_t room, const char *from) {
    snprintf(to, room, "%.*s", (int)strcspn(from, "\n"), from);
}

static void on_log(int level, const char *line) {
    static const char label[] = "per-conn:";
    const char *at = strstr(line, label);
    if (at) {
        at += strlen(label);
        copy_line(per_connection, sizeof per_connection, at + strspn(at, " "));
    }
    if (level & LLL_ERR) copy_line(last_error, sizeof last_error, line);
}

static void announce(const char *loop, bool lean) {
    char line[240], sizes[80];
    snprintf(sizes, sizeof sizes, "pt_serv_buf_size %d, rx_buffer_size %d", LEAN_BUFFER,
             LEAN_BUFFER);
    snprintf(line, sizeof line, "libwebsockets %d.%d.%d, %s, %s; says of a connection: %s",
             LWS_LIBRARY_VERSION_MAJOR, LWS_LIBRARY_VERSION_MINOR, LWS_LIBRARY_VERSION_PATCH, loop,
             lean ? sizes : "default buffers", *per_connection ? per_connection : "nothing");
    peer_announce(line);
}

int main(int argc, char **argv) {
    int port = peer_port(argc, argv);
    const char *loop = peer_option(argc, argv, "--loop");
    const char *cert = peer_option(argc, argv, "--cert"), *key = peer_option(argc, argv, "--key");
    bool lean = peer_flag(argc, argv, "--lean");
    if (!loop) loop = "poll";
    uint64_t option = loop_option(loop);
    if (option) require_loop(loop);
    peer_raise_files();
    lws_set_log_level(LLL_ERR | LLL_WARN | LLL_NOTICE | LLL_INFO, on_log);
    struct lws_context *context = create(port, option, lean, cert, key);
    if (!context) {
        fprintf(stderr, "lws_echo: no context on port %d: %s\n", port, last_error);
        return 1;
    }
    lws_set_log_level(0, on_log);
    signal(SIGTERM, on_sigterm);
    announce(loop, lean);
    while (lws_service(context, 0) >= 0) {}
    return 1;
}
