/**
 * Customers in a storm: short downloads through every endpoint, each under a credential of its own, so that what was
 * billed can be held against what that very flow has carried. A flow may be refused or cut; then bounds hold.
 */
import { createHash } from 'node:crypto';
import type { UsageDelta, UsageSink } from '@mastline/agent/ports';
import type { Credential } from '@mastline/shared/domain/endpoint';
import { socks5 } from '../agent/data-plane/clients';

const SECRET = 'storm';
const FLOW_DEADLINE_MS = 15_000;
const MAX_BODY_BYTES = 300_000;
/** Status line and headers of the origin. */
const MAX_HEAD_BYTES = 1000;

interface Flow {
  credential: string;
  outcome: 'clean' | 'cut' | 'refused';
  requestBytes: number;
  wantedBytes: number;
  receivedBytes: number;
}

export class Traffic {
  readonly credentials: Credential[];
  readonly #flows: Flow[] = [];
  readonly #billed = new Map<string, { upBytes: number; downBytes: number; flows: number }>();
  readonly #running = new Set<Promise<void>>();

  /** `count`: as many flows as there can be. */
  constructor(count: number) {
    const verifier = createHash('sha256').update(SECRET).digest('hex');
    this.credentials = Array.from({ length: count }, (_, i) => ({
      id: `c${i}`,
      username: `flow${i}`,
      verifier,
      endpointIds: null,
      suspended: false,
    }));
  }

  readonly sink: UsageSink = {
    commit: async (deltas: readonly UsageDelta[]) => {
      for (const { credentialId, upBytes, downBytes, flows } of deltas) {
        const sum = this.#billed.get(credentialId) ?? { upBytes: 0, downBytes: 0, flows: 0 };
        this.#billed.set(credentialId, {
          upBytes: sum.upBytes + upBytes,
          downBytes: sum.downBytes + downBytes,
          flows: sum.flows + flows,
        });
      }
    },
  };

  /** Starts a flow, unless all credentials are used up. */
  begin(port: number, origin: { address: string; port: number }, random: () => number): void {
    const number = this.#flows.length;
    const credential = this.credentials[number];
    if (!credential) return;
    const flow: Flow = {
      credential: credential.id,
      outcome: 'refused',
      requestBytes: 0,
      wantedBytes: 1 + Math.floor(random() * MAX_BODY_BYTES),
      receivedBytes: 0,
    };
    this.#flows.push(flow);
    const work = this.#run(flow, { port, origin, username: credential.username });
    this.#running.add(work);
    void work.finally(() => this.#running.delete(work));
  }

  /** Waits for the flows that run. */
  async end(): Promise<void> {
    await Promise.all(this.#running);
  }

  summary(): Record<Flow['outcome'], number> {
    const count = (outcome: Flow['outcome']) => this.#flows.filter(one => one.outcome === outcome).length;
    return { clean: count('clean'), cut: count('cut'), refused: count('refused') };
  }

  /** Every flow whose bill is not what it carried, in words. */
  mistakes(): string[] {
    return this.#flows.flatMap(flow => {
      const billed = this.#billed.get(flow.credential) ?? { upBytes: 0, downBytes: 0, flows: 0 };
      const fits =
        flow.outcome === 'clean'
          ? billed.upBytes === flow.requestBytes &&
            billed.downBytes === flow.receivedBytes &&
            billed.flows === 1
          : flow.outcome === 'cut'
            ? billed.upBytes <= flow.requestBytes &&
              billed.downBytes >= flow.receivedBytes &&
              billed.downBytes <= flow.wantedBytes + MAX_HEAD_BYTES
            : billed.upBytes === 0 && billed.downBytes === 0;
      return fits ? [] : [`${JSON.stringify(flow)} was billed ${JSON.stringify(billed)}`];
    });
  }

  async #run(
    flow: Flow,
    way: { port: number; origin: { address: string; port: number }; username: string },
  ): Promise<void> {
    const { address, port } = way.origin;
    let opened: Awaited<ReturnType<typeof socks5>>;
    try {
      opened = await socks5(way.port, { host: address, port }, { username: way.username, secret: SECRET });
    } catch {
      // Closed in the handshake: as good as refused.
      return;
    }
    const { socket } = opened;
    if (!socket) return;
    flow.outcome = 'cut';
    const request = Buffer.from(
      `GET /bytes/${flow.wantedBytes} HTTP/1.1\r\nHost: ${address}\r\nConnection: close\r\n\r\n`,
    );
    flow.requestBytes = request.length;
    await new Promise<void>(resolve => {
      const late = setTimeout(() => socket.destroy(), FLOW_DEADLINE_MS);
      const chunks: Buffer[] = [];
      socket.on('data', (chunk: Buffer) => {
        flow.receivedBytes += chunk.length;
        // Only the head is of interest.
        if (chunks.length < 2) chunks.push(chunk);
      });
      socket.once('end', () => {
        const head = Buffer.concat(chunks).indexOf('\r\n\r\n');
        if (head >= 0 && flow.receivedBytes === head + 4 + flow.wantedBytes) flow.outcome = 'clean';
        socket.end();
      });
      socket.once('close', () => {
        clearTimeout(late);
        resolve();
      });
      socket.resume();
      socket.write(request);
    });
  }
}
