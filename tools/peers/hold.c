// A peer that only accepts and holds: the floor for memory.
//
// What a connection costs here is what the kernel takes for a TCP socket and its file; this program
// keeps nothing for it. It leaves out everything else: it never reads, never answers, arms nothing
// on a connection and does not notice when one ends, so it is started anew for each run.
#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "peer.h"

// Takes all that wait; the descriptors stay open and are forgotten.
static void accept_all(int listener) {
    for (;;) {
        if (accept4(listener, NULL, NULL, SOCK_CLOEXEC) >= 0) continue;
        if (errno == EAGAIN) return;
        if (errno != EINTR && errno != ECONNABORTED) peer_fail("accept4");
    }
}

int main(int argc, char **argv) {
    int port = peer_port(argc, argv);
    peer_raise_files();
    int listener = peer_listen(port), epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN};
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) < 0) peer_fail("epoll");
    peer_announce("hold 1, accepts and holds, epoll on the listener only, never reads");
    for (;;) {
        if (epoll_wait(epoll, &event, 1, -1) > 0) accept_all(listener);
    }
}
