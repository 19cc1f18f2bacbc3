/*
 * The load generator's command line. Started by generator.ts, which says what its output means:
 *   load sink                       prints {"port":N} and serves until standard input ends
 *   load check                      ends with 3 when there is no libcrypto for Shadowsocks
 *   load MODE --proxy A:P --target A:P [options]
 * Secrets come by the environment (LOAD_USER, LOAD_PASSWORD, LOAD_KEY as 64 hex digits), where ps does not show them.
 */
#define _GNU_SOURCE
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

static uint8_t pattern[BLOCK_BYTES + PATTERN];

double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void die(const char *what) {
  fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void usage(const char *format, const char *what) {
  fprintf(stderr, "load: ");
  fprintf(stderr, format, what);
  fprintf(stderr, "\n");
  exit(2);
}

void make_pattern(void) {
  for (size_t i = 0; i < sizeof pattern; i++) pattern[i] = (uint8_t)(i % PATTERN);
}

const uint8_t *pattern_at(uint64_t at) { return pattern + at % PATTERN; }

bool pattern_holds(const uint8_t *block, size_t bytes, uint64_t at) {
  return bytes == 0 || (block[0] == at % PATTERN && block[bytes - 1] == (at + bytes - 1) % PATTERN);
}

void prepare_socket(int fd) {
  int one = 1;
  if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK)) die("fcntl");
  if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one)) die("TCP_NODELAY");
}

/** As many descriptors as the hard limit allows; generator.ts asks for no more flows than that. */
void raise_file_limit(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit)) die("getrlimit");
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit)) die("setrlimit");
}

static struct sockaddr_in address_of(const char *text) {
  struct sockaddr_in address = {.sin_family = AF_INET};
  char host[64];
  const char *colon = strrchr(text, ':');
  if (!colon || (size_t)(colon - text) >= sizeof host) usage("\"%s\" must be ADDRESS:PORT", text);
  memcpy(host, text, (size_t)(colon - text));
  host[colon - text] = 0;
  int port = atoi(colon + 1);
  if (inet_pton(AF_INET, host, &address.sin_addr) != 1 || port < 1 || port > 65535)
    usage("\"%s\" must be an IPv4 ADDRESS:PORT", text);
  address.sin_port = htons((uint16_t)port);
  return address;
}

static int index_of(const char *const *names, const char *name, const char *what) {
  for (int i = 0; names[i]; i++)
    if (!strcmp(names[i], name)) return i;
  usage(what, name);
  return -1;
}

static double number_of(const char *text, double least, double most) {
  char *end;
  double value = strtod(text, &end);
  if (*end || !(value >= least && value <= most)) usage("\"%s\" is out of bounds", text);
  return value;
}

static void read_key(uint8_t key[32]) {
  const char *hex = getenv("LOAD_KEY");
  if (!hex || strlen(hex) != 64) usage("%s must be 64 hex digits", "LOAD_KEY");
  for (int i = 0; i < 32; i++)
    if (sscanf(hex + 2 * i, "%2hhx", &key[i]) != 1) usage("%s must be 64 hex digits", "LOAD_KEY");
}

int main(int argc, char **argv) {
  static const char *const modes[] = {"download", "upload", "duplex", "connect", "echo", "hold", "stall", NULL};
  static const char *const kinds[] = {"direct", "socks5", "http", "shadowsocks", NULL};
  if (argc < 2) usage("usage: load sink | load MODE --proxy A:P --target A:P [options]%s", "");
  raise_file_limit();
  make_pattern();
  if (!strcmp(argv[1], "sink")) return serve_sink();
  if (!strcmp(argv[1], "check")) {
    shadow_prepare();
    return 0;
  }

  struct options options = {
      .kind = DIRECT, .connections = 1, .opening = 64, .seconds = 1, .limit = 60, .unit = 8 << 20};
  options.mode = (enum mode)index_of(modes, argv[1], "there is no mode \"%s\"");
  options.user = getenv("LOAD_USER");
  options.password = getenv("LOAD_PASSWORD");
  if (argc % 2) usage("%s has no value", argv[argc - 1]);
  for (int i = 2; i < argc; i += 2) {
    const char *name = argv[i], *value = argv[i + 1];
    if (!strcmp(name, "--kind")) options.kind = (enum kind)index_of(kinds, value, "there is no kind \"%s\"");
    else if (!strcmp(name, "--proxy")) options.proxy = address_of(value);
    else if (!strcmp(name, "--target")) options.target = address_of(value);
    else if (!strcmp(name, "--connections")) options.connections = (int)number_of(value, 1, 1 << 20);
    else if (!strcmp(name, "--opening")) options.opening = (int)number_of(value, 1, 1 << 16);
    else if (!strcmp(name, "--seconds")) options.seconds = number_of(value, 0, 3600);
    else if (!strcmp(name, "--limit")) options.limit = number_of(value, 0.1, 7200);
    else if (!strcmp(name, "--unit")) options.unit = (uint64_t)number_of(value, 1, 1 << 30);
    else usage("there is no option %s", name);
  }
  if (!options.target.sin_port) usage("%s is missing", "--target");
  if (options.kind == DIRECT && !options.proxy.sin_port) options.proxy = options.target;
  if (!options.proxy.sin_port) usage("%s is missing", "--proxy");
  if ((options.user && strlen(options.user) > 255) || (options.password && strlen(options.password) > 255))
    usage("%s may have 255 bytes at most", "LOAD_USER or LOAD_PASSWORD");
  if (options.kind == SHADOWSOCKS) {
    read_key(options.key);
    shadow_prepare();
  }
  return run_client(&options);
}
