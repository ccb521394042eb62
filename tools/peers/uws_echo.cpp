// A WebSocket echo with uWebSockets itself: one loop on epoll, no compression, no idle timeout, no
// pings of its own; over TLS if it is built with LIBUS_USE_OPENSSL. Connections whose path begins with
// /rooms/ subscribe to the topic of that path, and what one sends is published to all of them.
#include <App.h>

#include <string>

extern "C" {
#include "peer.h"
}

namespace {

#ifdef LIBUS_USE_OPENSSL
using App = uWS::SSLApp;
#else
using App = uWS::App;
#endif

constexpr unsigned MAX_PAYLOAD = 16 * 1024 * 1024;

// What each connection has: the path of its room.
struct Room {
    std::string path;
};

App::WebSocketBehavior<Room> behaviour() {
    return {
        .compression = uWS::DISABLED,
        .maxPayloadLength = MAX_PAYLOAD,
        .idleTimeout = 0,
        .maxBackpressure = MAX_PAYLOAD + 64 * 1024,
        .sendPingsAutomatically = false,
    };
}

App::WebSocketBehavior<Room> echo() {
    auto echo = behaviour();
    echo.message = [](auto *socket, std::string_view message, uWS::OpCode code) {
        socket->send(message, code, false);
    };
    return echo;
}

App::WebSocketBehavior<Room> room(App &app) {
    auto room = behaviour();
    room.upgrade = [](auto *response, auto *request, auto *context) {
        response->template upgrade<Room>({std::string(request->getUrl())},
                                         request->getHeader("sec-websocket-key"),
                                         request->getHeader("sec-websocket-protocol"),
                                         request->getHeader("sec-websocket-extensions"), context);
    };
    room.open = [](auto *socket) { socket->subscribe(socket->getUserData()->path); };
    // By way of the app, because what a socket publishes does not come to itself.
    room.message = [&app](auto *socket, std::string_view message, uWS::OpCode code) {
        app.publish(socket->getUserData()->path, message, code, false);
    };
    return room;
}

} // namespace

int main(int argc, char **argv) {
    int port = peer_port(argc, argv);
    peer_raise_files();
#ifdef LIBUS_USE_OPENSSL
    App app({.key_file_name = peer_option(argc, argv, "--key"),
             .cert_file_name = peer_option(argc, argv, "--cert")});
#else
    App app;
#endif
    app.ws<Room>("/rooms/*", room(app)).ws<Room>("/*", echo());
    app.listen("0.0.0.0", port, LIBUS_LISTEN_EXCLUSIVE_PORT, [](auto *listener) {
        if (!listener) peer_fail("listen");
        peer_announce("uWebSockets of " UWS_PACKAGE ", epoll, no compression");
    });
    app.run();
}
