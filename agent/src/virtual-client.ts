/**
 * `agent virtual …`: asks a running virtual network (that of `npm start`, or one beside a node) for more modems or
 * fewer, over its Unix socket, and watches the agent take them up. What a virtual modem is, is test/simulators.
 */
import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { join, resolve } from 'node:path';
import { sleep, systemClock } from '@mastline/shared/base/clock';
import { CodedError, codeOf, messageOf } from '@mastline/shared/base/coded-error';
import { parseOrExplain } from '@mastline/shared/base/problems';
import { z } from 'zod';
import { VIRTUAL_STATE_FILE } from './modem-plane/virtual-slots';
import { askStatus } from './observe/status-page';

/** Building a modem's network takes a second or two. */
const ASK_DEADLINE_MS = 30_000;
/** Slow carriers take half a minute. */
const SERVE_DEADLINE_MS = 60_000;
const LOOK_EVERY_MS = 500;
const MAX_ANSWER_CHARS = 1_000_000;

const Modem = z.looseObject({
  slot: z.int(),
  name: z.string(),
  profile: z.string(),
  driver: z.string(),
  preset: z.string(),
  interface: z.string().nullable(),
  api: z.string(),
  carrier: z.looseObject({ registered: z.boolean(), address: z.string().nullable() }),
});
export type VirtualModemView = z.infer<typeof Modem>;

const AgentView = z.looseObject({
  slots: z.array(
    z.looseObject({
      slot: z.int(),
      state: z.string(),
      reason: z.string(),
      exitAddress: z.string().nullable(),
      virtual: z.boolean(),
    }),
  ),
});
export type SlotView = z.infer<typeof AgentView>['slots'][number];

export interface ModemWish {
  profile: string;
  carrier?: string | undefined;
  driver?: string | undefined;
  name?: string | undefined;
  /** `ipv4`, `ipv6` or `ipv4v6`. */
  ipType?: string | undefined;
}

/** What is found under a data directory: that of `npm start`, of a node, or a virtual network's own. */
interface Place {
  control: string;
  agentDataDir: string;
}

export class VirtualClient {
  readonly #place: Place;

  /** Throws `virtual/none` when no virtual network has left its word in `dataDir`. */
  constructor(dataDir: string) {
    this.#place = placeIn(resolve(dataDir));
  }

  async list(): Promise<VirtualModemView[]> {
    const answer = await this.#ask('GET', '/state');
    return parseOrExplain(z.looseObject({ slots: z.array(Modem) }), answer, 'the virtual network').slots;
  }

  async add({ profile, carrier, driver, name, ipType }: ModemWish): Promise<VirtualModemView> {
    const wish = {
      profile,
      ...(carrier === undefined ? {} : { carrier }),
      ...(driver === undefined ? {} : { driver }),
      ...(name === undefined ? {} : { name }),
      ...(ipType === undefined ? {} : { ipType }),
    };
    return parseOrExplain(Modem, await this.#ask('POST', '/modems', wish), 'the virtual network');
  }

  /** By number or by name. Throws `virtual/no-such-modem` with what there is. */
  async remove(which: string): Promise<VirtualModemView> {
    const modems = await this.list();
    const found = modems.find(
      one => String(one.slot) === which || one.name === which || one.name === `virtual-${which}`,
    );
    if (!found)
      throw new CodedError(
        'virtual/no-such-modem',
        `There is no virtual modem "${which}"; there are ${modems.map(one => `${one.slot} (${one.name})`).join(', ') || 'none'}.`,
      );
    return parseOrExplain(Modem, await this.#ask('DELETE', `/modems/${found.slot}`), 'the virtual network');
  }

  /** The agent's slots; null when no agent runs on this directory. */
  async slots(): Promise<SlotView[] | null> {
    try {
      const status = await askStatus(this.#place.agentDataDir);
      return parseOrExplain(AgentView, status, "the agent's status").slots;
    } catch (error) {
      if (codeOf(error) === 'status/no-agent') return null;
      throw error;
    }
  }

  /** Waits until the agent says how the slot ended up; null when no agent runs, or the slot does not come up in time. */
  async untilSettled(slot: number): Promise<SlotView | null> {
    const begun = systemClock.monotonicMs();
    for (;;) {
      const slots = await this.slots();
      if (slots === null) return null;
      const found = slots.find(one => one.slot === slot) ?? null;
      const late = systemClock.monotonicMs() - begun > SERVE_DEADLINE_MS;
      if (late || (found?.state === 'connected' && found.exitAddress !== null)) return found;
      await sleep(systemClock, LOOK_EVERY_MS);
    }
  }

  #ask(method: string, path: string, body?: object): Promise<unknown> {
    const { control } = this.#place;
    return new Promise((done, failed) => {
      const call = request({ socketPath: control, method, path, agent: false, timeout: ASK_DEADLINE_MS });
      call.on('timeout', () => call.destroy(new Error(`no answer within ${ASK_DEADLINE_MS / 1000} s`)));
      call.on('error', error => failed(silent(control, error)));
      call.on('response', response => {
        let text = '';
        response.setEncoding('utf8');
        response.on('error', error => failed(silent(control, error)));
        response.on('data', part => {
          text += part;
          if (text.length > MAX_ANSWER_CHARS) response.destroy(new Error('it says too much'));
        });
        response.on('end', () => {
          try {
            const value: unknown = JSON.parse(text);
            if (response.statusCode === 200) return done(value);
            const said = z.looseObject({ error: z.string(), message: z.string() }).safeParse(value);
            failed(
              new CodedError(
                said.success ? said.data.error : 'virtual/answer',
                said.success ? said.data.message : `the virtual network answered with ${response.statusCode}`,
              ),
            );
          } catch (error) {
            failed(silent(control, error));
          }
        });
      });
      call.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }
}

function silent(control: string, error: unknown): CodedError {
  return new CodedError('virtual/silent', `${control}: ${messageOf(error)}`, {
    userMessage: `The virtual network does not answer on ${control} (${messageOf(error)}). Has it ended? Start it again: npm start.`,
    cause: error,
  });
}

/** Looks where a product, a node and a virtual network keep their state, in this order. */
function placeIn(dataDir: string): Place {
  const places = [
    { stateDir: join(dataDir, 'simulators'), agentDataDir: join(dataDir, 'agent', 'data') },
    { stateDir: join(dataDir, 'virtual'), agentDataDir: dataDir },
    { stateDir: dataDir, agentDataDir: dataDir },
  ];
  for (const { stateDir, agentDataDir } of places) {
    try {
      const text = readFileSync(join(stateDir, VIRTUAL_STATE_FILE), 'utf8');
      const { control } = parseOrExplain(z.looseObject({ control: z.string() }), JSON.parse(text), stateDir);
      return { control, agentDataDir };
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') throw error;
    }
  }
  throw new CodedError('virtual/none', `no virtual network in ${dataDir}`, {
    userMessage: `No virtual network runs in ${dataDir}. Either start everything with npm start, or give a node its virtual modems: npm run virtual -- --state-dir DIR/virtual (DIR is the node's dataDir), and name DIR here with --data-dir.`,
  });
}
