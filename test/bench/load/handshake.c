/*
 * From a TCP connection to an open flow: SOCKS5 (RFC 1928, 1929), HTTP CONNECT (RFC 9110 section 9.3.6) or
 * Shadowsocks, where the request travels with the first bytes; and sending and receiving on the open flow.
 */
#define _GNU_SOURCE
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static int put(int fd, const void *bytes, size_t count) {
  /* A few hundred bytes on a fresh connection always fit into its buffer. */
  if (send(fd, bytes, count, MSG_NOSIGNAL) == (ssize_t)count) return 0;
  complain("could not send the handshake: %s", strerror(errno));
  return BROKEN;
}

static int send_socks_request(struct flow *flow, const struct options *options) {
  uint8_t request[10] = {5, 1, 0, 1};
  memcpy(request + 4, &options->target.sin_addr, 4);
  memcpy(request + 8, &options->target.sin_port, 2);
  flow->state = REQUESTED;
  return put(flow->fd, request, sizeof request);
}

static int send_socks_login(struct flow *flow, const struct options *options) {
  uint8_t login[3 + 255 + 255];
  size_t user = strlen(options->user), password = strlen(options->password);
  login[0] = 1;
  login[1] = (uint8_t)user;
  memcpy(login + 2, options->user, user);
  login[2 + user] = (uint8_t)password;
  memcpy(login + 3 + user, options->password, password);
  flow->state = AUTHENTICATED;
  return put(flow->fd, login, 3 + user + password);
}

static void base64(const char *in, size_t bytes, char *out) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t i = 0; i < bytes; i += 3) {
    unsigned a = (uint8_t)in[i], b = i + 1 < bytes ? (uint8_t)in[i + 1] : 0, c = i + 2 < bytes ? (uint8_t)in[i + 2] : 0;
    *out++ = digits[a >> 2];
    *out++ = digits[(a << 4 | b >> 4) & 63];
    *out++ = i + 1 < bytes ? digits[(b << 2 | c >> 6) & 63] : '=';
    *out++ = i + 2 < bytes ? digits[c & 63] : '=';
  }
  *out = 0;
}

static int send_http_request(struct flow *flow, const struct options *options) {
  char host[INET_ADDRSTRLEN], login[512] = "", encoded[700] = "", request[1200];
  inet_ntop(AF_INET, &options->target.sin_addr, host, sizeof host);
  int port = ntohs(options->target.sin_port);
  if (options->user) {
    int bytes = snprintf(login, sizeof login, "%s:%s", options->user, options->password);
    base64(login, (size_t)bytes, encoded);
  }
  int bytes = snprintf(request, sizeof request, "CONNECT %s:%d HTTP/1.1\r\nHost: %s:%d\r\n%s%s%s\r\n", host, port, host, port,
                       options->user ? "Proxy-Authorization: Basic " : "", encoded, options->user ? "\r\n" : "");
  flow->state = REQUESTED;
  return put(flow->fd, request, (size_t)bytes);
}

int begin_handshake(struct flow *flow, const struct options *options) {
  switch (options->kind) {
    case SOCKS5: {
      uint8_t greeting[3] = {5, 1, options->user ? 2 : 0};
      flow->state = METHOD;
      return put(flow->fd, greeting, sizeof greeting);
    }
    case HTTP: return send_http_request(flow, options);
    case SHADOWSOCKS:
      flow->shadow = shadow_open(options);
      flow->state = OPEN;
      return 1;
    case DIRECT: flow->state = OPEN; return 1;
  }
  return BROKEN;
}

/** Bytes of the reply that is being read, as far as it tells; beyond them the target speaks. */
static int wanted(const struct flow *flow, const struct options *options) {
  if (options->kind == HTTP) return flow->replied + 1; /* byte by byte: the end is not known before */
  if (flow->state != REQUESTED) return 2;
  if (flow->replied < 5) return 5;
  switch (flow->reply[3]) {
    case 1: return 10;
    case 3: return 7 + flow->reply[4];
    case 4: return 22;
    default: return flow->replied; /* read and refused below */
  }
}

static int judge_reply(struct flow *flow, const struct options *options) {
  const uint8_t *reply = flow->reply;
  if (options->kind == HTTP) {
    if (flow->replied < 4 || memcmp(reply + flow->replied - 4, "\r\n\r\n", 4)) return 0;
    if (flow->replied > 12 && !memcmp(reply, "HTTP/1.", 7) && !memcmp(reply + 8, " 200", 4)) return 1;
    complain("the proxy answered \"%.*s\"", (int)strcspn((const char *)reply, "\r"), reply);
    return BROKEN;
  }
  if (flow->state == METHOD) {
    flow->replied = 0;
    if (reply[0] == 5 && reply[1] == 0) return send_socks_request(flow, options);
    if (reply[0] == 5 && reply[1] == 2 && options->user) return send_socks_login(flow, options);
    complain("the proxy chose method %d", reply[1]);
    return BROKEN;
  }
  if (flow->state == AUTHENTICATED) {
    flow->replied = 0;
    if (reply[1] == 0) return send_socks_request(flow, options);
    complain("the proxy refused the login (%d)", reply[1]);
    return BROKEN;
  }
  if (reply[0] == 5 && reply[1] == 0 && (reply[3] == 1 || reply[3] == 3 || reply[3] == 4)) return 1;
  complain("the proxy refused the request (%d)", reply[1]);
  return BROKEN;
}

int continue_handshake(struct flow *flow, const struct options *options) {
  for (;;) {
    int bytes = wanted(flow, options) - flow->replied;
    /* The last byte stays free, so that an HTTP reply is a string. */
    if (flow->replied + bytes >= (int)sizeof flow->reply) {
      complain("the proxy's reply is longer than %d bytes", (int)sizeof flow->reply);
      return BROKEN;
    }
    ssize_t got = bytes > 0 ? recv(flow->fd, flow->reply + flow->replied, (size_t)bytes, 0) : 0;
    if (got < 0 && errno == EAGAIN) return 0;
    if (bytes > 0 && got <= 0) {
      complain("the proxy hung up in the handshake");
      return BROKEN;
    }
    flow->replied += (int)got;
    flow->reply[flow->replied] = 0;
    if (options->kind != HTTP && flow->replied < wanted(flow, options)) continue;
    int outcome = judge_reply(flow, options);
    if (outcome == 1) flow->state = OPEN;
    if (outcome != 0) return outcome;
  }
}

ssize_t flow_send(struct flow *flow, const uint8_t *data, size_t bytes) {
  if (flow->shadow) return shadow_send(flow->shadow, flow->fd, data, bytes);
  ssize_t sent = send(flow->fd, data, bytes, MSG_NOSIGNAL);
  if (sent >= 0) return sent;
  return errno == EAGAIN ? WOULD_BLOCK : BROKEN;
}

int flow_flush(struct flow *flow) { return flow->shadow ? shadow_flush(flow->shadow, flow->fd) : 0; }

ssize_t flow_receive(struct flow *flow, const uint8_t **block) {
  static uint8_t bytes[BLOCK_BYTES];
  if (flow->shadow) return shadow_receive(flow->shadow, flow->fd, block);
  ssize_t got = recv(flow->fd, bytes, sizeof bytes, 0);
  *block = bytes;
  if (got > 0) return got;
  if (got == 0) return ENDED;
  return errno == EAGAIN ? WOULD_BLOCK : BROKEN;
}
