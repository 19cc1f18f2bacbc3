/* The far end: does what the commands of load.h say, for any number of connections, in one thread. */
#define _GNU_SOURCE
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/** Blocks that one connection may move before the others have their turn. */
#define TURNS 8
#define STALLED_SEND_BUFFER (128 * 1024)

/* The two directions do not wait for each other: a proxy that blocks while it writes must always find a reader. */
struct guest {
  int fd;
  uint8_t command[COMMAND_BYTES];
  int commanded;
  bool echoing;
  uint64_t to_read, to_send, read_at, sent_at;
  char answering; /* the operation whose payload is being read */
  int answers;    /* 'k's that are due when nothing else is to be sent */
  uint32_t events;
};

static int epoll;
static uint8_t block[BLOCK_BYTES];
static uint8_t echoed[16 * 1024];

static void watch(struct guest *guest) {
  uint32_t events = EPOLLIN | (guest->to_send > 0 || guest->answers > 0 ? EPOLLOUT : 0);
  if (events == guest->events) return;
  guest->events = events;
  struct epoll_event event = {.events = events, .data.ptr = guest};
  if (epoll_ctl(epoll, EPOLL_CTL_MOD, guest->fd, &event)) die("epoll_ctl");
}

static int obey(struct guest *guest) {
  uint64_t bytes;
  memcpy(&bytes, guest->command + 1, sizeof bytes);
  switch (guest->command[0]) {
    case 'D': guest->to_send += bytes; return 1;
    case 'B': guest->to_send += bytes; /* and */
    /* fall through */
    case 'U':
      guest->to_read = bytes;
      guest->answering = (char)guest->command[0];
      if (bytes == 0 && guest->answering == 'U') guest->answers++;
      return 1;
    case 'E': guest->echoing = true; return 1;
    case 'S': {
      int size = STALLED_SEND_BUFFER;
      if (setsockopt(guest->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size)) die("SO_SNDBUF");
      guest->to_send = UINT64_MAX;
      return 1;
    }
    default: return BROKEN;
  }
}

/** Echoes carry a byte or two: what does not fit at once is a fault of the test. */
static int echo(struct guest *guest) {
  ssize_t got = recv(guest->fd, echoed, sizeof echoed, 0);
  if (got <= 0) return got < 0 && errno == EAGAIN ? 0 : BROKEN;
  if (send(guest->fd, echoed, (size_t)got, MSG_NOSIGNAL) != got) return BROKEN;
  return echoed[got - 1] == 'q' ? BROKEN : 1; /* closed, which the client waits for */
}

/** 1 when something came, 0 when nothing is there now, BROKEN when the connection is over. */
static int read_on(struct guest *guest) {
  if (guest->echoing) return echo(guest);
  bool payload = guest->to_read > 0;
  uint8_t *into = payload ? block : guest->command + guest->commanded;
  size_t bytes = payload ? (guest->to_read < BLOCK_BYTES ? (size_t)guest->to_read : BLOCK_BYTES)
                         : (size_t)(COMMAND_BYTES - guest->commanded);
  ssize_t got = recv(guest->fd, into, bytes, 0);
  if (got <= 0) return got < 0 && errno == EAGAIN ? 0 : BROKEN;
  if (payload) {
    if (!pattern_holds(block, (size_t)got, guest->read_at)) return BROKEN;
    guest->to_read -= (uint64_t)got;
    guest->read_at += (uint64_t)got;
    if (guest->to_read == 0 && guest->answering == 'U') guest->answers++;
    return 1;
  }
  guest->commanded += (int)got;
  if (guest->commanded < COMMAND_BYTES) return 1;
  guest->commanded = 0;
  return obey(guest);
}

static int send_on(struct guest *guest) {
  if (guest->to_send > 0) {
    size_t bytes = guest->to_send < BLOCK_BYTES ? (size_t)guest->to_send : BLOCK_BYTES;
    ssize_t sent = send(guest->fd, pattern_at(guest->sent_at), bytes, MSG_NOSIGNAL);
    if (sent < 0) return errno == EAGAIN ? 0 : BROKEN;
    guest->to_send -= (uint64_t)sent;
    guest->sent_at += (uint64_t)sent;
    return 1;
  }
  if (guest->answers == 0) return 0;
  guest->answers--;
  return send(guest->fd, "k", 1, MSG_NOSIGNAL) == 1 ? 1 : BROKEN;
}

/** One turn of both directions; 1 when something moved, 0 when nothing can, BROKEN when the connection is over. */
static int step(struct guest *guest) {
  int sent = send_on(guest), got = sent == BROKEN ? BROKEN : read_on(guest);
  return got == BROKEN ? BROKEN : sent | got;
}

static void greet(int listener) {
  for (int i = 0; i < 256; i++) {
    int fd = accept(listener, NULL, NULL);
    if (fd < 0) {
      if (errno == EAGAIN || errno == ECONNABORTED) return;
      die("accept");
    }
    prepare_socket(fd);
    struct guest *guest = calloc(1, sizeof *guest);
    if (!guest) die("calloc");
    guest->fd = fd;
    guest->events = EPOLLIN;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = guest};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event)) die("epoll_ctl");
  }
}

int serve_sink(void) {
  static struct epoll_event events[512];
  static char listening, parent; /* their addresses tell the two from guests */
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof address;
  if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) || listen(listener, 65535) ||
      getsockname(listener, (struct sockaddr *)&address, &size))
    die("listen");
  epoll = epoll_create1(0);
  struct epoll_event of_listener = {.events = EPOLLIN, .data.ptr = &listening};
  struct epoll_event of_parent = {.events = EPOLLIN, .data.ptr = &parent};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &of_listener)) die("epoll_ctl");
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &of_parent)) die("standard input must be a pipe");
  printf("{\"port\":%d}\n", ntohs(address.sin_port));
  fflush(stdout);
  for (;;) {
    int ready = epoll_wait(epoll, events, 512, -1);
    if (ready < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < ready; i++) {
      if (events[i].data.ptr == &parent) return 0; /* whoever started this is gone or done */
      if (events[i].data.ptr == &listening) {
        greet(listener);
        continue;
      }
      struct guest *guest = events[i].data.ptr;
      int outcome = 1;
      for (int turn = 0; turn < TURNS && outcome == 1; turn++) outcome = step(guest);
      if (outcome == BROKEN) {
        close(guest->fd);
        free(guest);
      } else {
        watch(guest);
      }
    }
  }
}
