/*
 * What the parts of the load generator share: the wire between client and sink, the pattern of payload bytes, and the
 * flow. It exists so that measuring proxies costs little beside them; it is no general client. load.c reads the
 * command line, sink.c is the far end, client.c drives flows, handshake.c and shadowsocks.c get them through a proxy.
 *
 * The wire: a command of 9 bytes, an operation and a 64-bit length in the machine's byte order, then what it says.
 *   D n   the sink sends n bytes
 *   U n   the client sends n bytes, the sink answers one 'k' when they were all there and right
 *   B n   both at once, n bytes each way, without an answer
 *   S 0   the sink sends for ever, out of a small socket buffer
 *   E 0   everything that follows comes back; after a 'q' the sink closes. Whoever closes first keeps the port for a
 *         minute (TIME_WAIT): here that is the sink, then the proxy, each on the port it listens on. Thousands of
 *         flows that the client closes first would leave the whole machine without free ports.
 * Payload byte p of a direction is p % PATTERN, commands, answers and echoes not counted. The ends of every block that is read
 * are looked at: bytes that a proxy loses, doubles or swaps are seen, and it costs nothing.
 */
#ifndef LOAD_H
#define LOAD_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define COMMAND_BYTES 9
#define BLOCK_BYTES (256 * 1024)
#define PATTERN 251

/** Unlike errno's values these say why a call gave no bytes. */
enum { WOULD_BLOCK = -1, ENDED = -2, BROKEN = -3 };

enum kind { DIRECT, SOCKS5, HTTP, SHADOWSOCKS };
enum mode { DOWNLOAD, UPLOAD, DUPLEX, CONNECT, ECHO, HOLD, STALL };

struct options {
  enum kind kind;
  enum mode mode;
  struct sockaddr_in proxy, target;
  const char *user, *password; /* NULL: no authentication */
  uint8_t key[32];             /* Shadowsocks, aes-256-gcm */
  int connections;             /* at once; in all for HOLD and STALL */
  int opening;                 /* HOLD and STALL: handshakes at once */
  double seconds;              /* after this nothing new is begun */
  double limit;                /* after this the run has failed */
  uint64_t unit;               /* bytes of one D, U or B command */
};

struct shadow; /* shadowsocks.c: both directions of one stream */

struct flow {
  int fd; /* -1: not in use */
  enum { CONNECTING, METHOD, AUTHENTICATED, REQUESTED, OPEN } state;
  uint32_t events; /* what epoll is asked for */
  double began;
  uint8_t reply[1024]; /* of the proxy, until OPEN */
  int replied;
  uint8_t queued[32]; /* commands that were not sent yet */
  int queued_bytes;
  uint64_t payload;              /* left to send of the unit under way */
  uint64_t up_at, down_at;       /* where in the pattern each direction is */
  uint64_t awaited;              /* bytes asked for and not there yet */
  int units;                     /* asked for and not finished */
  bool asked, finishing, held, answered;
  struct shadow *shadow;
};

double now(void);
void die(const char *what);
void make_pattern(void);
/** Payload for a direction that is at `at`: BLOCK_BYTES can be sent from there. */
const uint8_t *pattern_at(uint64_t at);
bool pattern_holds(const uint8_t *block, size_t bytes, uint64_t at);
void prepare_socket(int fd);
void raise_file_limit(void);

int serve_sink(void);
int run_client(const struct options *options);

/** What the proxy said wrong, for the report; the first one stays. */
void complain(const char *format, ...);

/** Sends the first bytes; called when the TCP connection stands. BROKEN when that fails. */
int begin_handshake(struct flow *flow, const struct options *options);
/** Reads on; 1 when the flow is open, 0 when more must come, BROKEN when it is refused. */
int continue_handshake(struct flow *flow, const struct options *options);

/** Sends some of `data`: how many bytes of it were taken, or WOULD_BLOCK or BROKEN. */
ssize_t flow_send(struct flow *flow, const uint8_t *data, size_t bytes);
/** Sends what an earlier call had to keep: 0 when nothing is left, else WOULD_BLOCK or BROKEN. */
int flow_flush(struct flow *flow);
/** Reads a block, valid until the next call of any flow: its size, or WOULD_BLOCK, ENDED or BROKEN. */
ssize_t flow_receive(struct flow *flow, const uint8_t **block);

/** Loads libcrypto; must have been called before any shadow_open. */
void shadow_prepare(void);
struct shadow *shadow_open(const struct options *options);
void shadow_close(struct shadow *shadow);
ssize_t shadow_send(struct shadow *shadow, int fd, const uint8_t *data, size_t bytes);
int shadow_flush(struct shadow *shadow, int fd);
ssize_t shadow_receive(struct shadow *shadow, int fd, const uint8_t **block);

#endif
