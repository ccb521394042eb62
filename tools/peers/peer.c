// See peer.h.
#define _GNU_SOURCE
#include "peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

enum { BACKLOG = 4096 };

const char *peer_option(int argc, char **argv, const char *name) {
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], name) == 0) return argv[i + 1];
    return NULL;
}

bool peer_flag(int argc, char **argv, const char *name) {
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], name) == 0) return true;
    return false;
}

int peer_port(int argc, char **argv) {
    const char *text = peer_option(argc, argv, "--port");
    char *end = NULL;
    long port = text ? strtol(text, &end, 10) : 0;
    if (port < 1 || port > 65535 || *end) {
        fprintf(stderr, "usage: %s --port N [options]\n", argv[0]);
        exit(2);
    }
    return (int)port;
}

int peer_raise_files(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) peer_fail("getrlimit");
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0) peer_fail("setrlimit");
    return limit.rlim_max > 1 << 20 ? 1 << 20 : (int)limit.rlim_max;
}

int peer_listen(int port) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    if (listener < 0) peer_fail("socket");
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0) peer_fail("bind");
    if (listen(listener, BACKLOG) < 0) peer_fail("listen");
    return listener;
}

void peer_announce(const char *line) {
    puts(line);
    fflush(stdout);
}

_Noreturn void peer_fail(const char *what) {
    perror(what);
    exit(1);
}
