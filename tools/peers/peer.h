// What every C peer does the same way: its arguments, its file limit, its listener, its first line.
#ifndef PEER_H
#define PEER_H

#include <stdbool.h>

// The exit code for "this peer cannot run on this machine"; the reason is on stderr.
enum { PEER_CANNOT_RUN = 3 };

// The value after `name`, or NULL.
const char *peer_option(int argc, char **argv, const char *name);
// Whether `name` is among the arguments.
bool peer_flag(int argc, char **argv, const char *name);
// The value of --port; ends the program with exit code 2 if there is no proper one.
int peer_port(int argc, char **argv);
// Raises the limit of open files to the hard limit, and returns it.
int peer_raise_files(void);
// A non-blocking listener on 0.0.0.0; TCP_NODELAY is inherited by what it accepts.
int peer_listen(int port);
// Prints the one line that says what is running.
void peer_announce(const char *line);
// Prints what failed with errno's text, and ends the program with exit code 1.
__attribute__((noreturn)) void peer_fail(const char *what);

#endif
