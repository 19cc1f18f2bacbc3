/**
 * Rotations over the link: takes the cloud's requests, and tells it of every one that ended, whoever asked, until it
 * says that it has written it down. Doing them is the modem plane's, behind a port.
 */
import type { Clock, Timer } from '@mastline/shared/base/clock';
import type { RotationRecord } from '@mastline/shared/domain/rotation';
import type { DownlinkBody, DownlinkKind } from '@mastline/shared/wire/downlink';
import { MAX_ROTATIONS } from '@mastline/shared/wire/limits';
import type { UplinkKind } from '@mastline/shared/wire/uplink';
import type { Log } from '../observe/log';
import type { Rotations } from '../ports';
import type { LinkSession } from './link-session';

/** What an agent says in its hello that it takes. */
export const TAKEN: DownlinkKind[] = ['rotate', 'rotations-noted'];
const REPORT: UplinkKind = 'rotation-report';
/** Requests of the cloud that are being answered; a slot takes one at a time anyway. */
const MAX_OPEN = 64;
/** On a metered link, what nobody at the cloud waits for is told together. */
const METERED_DELAY_MS = 15 * 60_000;

export interface RotationLinkOptions {
  rotations: Rotations;
  metered: boolean;
  clock: Clock;
  log: Log;
}

export class RotationLink {
  readonly #options: RotationLinkOptions;
  #session: LinkSession | undefined;
  /** Sent in this session. */
  readonly #told = new Set<string>();
  /** Asked for by the cloud, not ended yet. */
  readonly #open = new Set<string>();
  #later: Timer | undefined;

  constructor(options: RotationLinkOptions) {
    this.#options = options;
    options.rotations.onEnd(record => this.#ended(record));
  }

  /** A session is up; `takes` is what its welcome says. */
  begin(session: LinkSession, takes: readonly string[]): void {
    this.end();
    if (!takes.includes(REPORT)) return;
    this.#session = session;
    this.#tellAll();
  }

  end(): void {
    this.#session = undefined;
    this.#told.clear();
    this.#later?.cancel();
    this.#later = undefined;
  }

  /** The cloud asks for a rotation. */
  asked({ id, slot, askedFor, deadlineMs }: DownlinkBody<'rotate'>): void {
    const { rotations, log } = this.#options;
    if (this.#open.has(id)) return;
    if (this.#open.size >= MAX_OPEN) {
      log.warn('too many rotations asked for at once', { id, slot });
      return;
    }
    this.#open.add(id);
    void rotations.rotate(slot, { id, askedFor, deadlineMs }).then(record => {
      this.#open.delete(id);
      // What was tried has been told when it ended, unless it ended in an earlier session.
      if (!this.#told.has(id)) this.#send([record]);
    });
  }

  /** The cloud has them. */
  noted({ ids }: DownlinkBody<'rotations-noted'>): void {
    this.#options.rotations.note(ids);
    for (const id of ids) this.#told.delete(id);
  }

  #ended(record: RotationRecord): void {
    const { metered, clock } = this.#options;
    if (!metered || this.#open.has(record.id)) {
      this.#tellAll();
      return;
    }
    this.#later ??= clock.after(METERED_DELAY_MS, () => {
      this.#later = undefined;
      this.#tellAll();
    });
  }

  #tellAll(): void {
    const left = this.#options.rotations.unnoted().filter(({ id }) => !this.#told.has(id));
    for (let from = 0; from < left.length; from += MAX_ROTATIONS)
      this.#send(left.slice(from, from + MAX_ROTATIONS));
  }

  /** What cannot go out now is told with the next one that ends, or by the next session. */
  #send(rotations: RotationRecord[]): void {
    if (this.#session?.send(REPORT, { rotations }) !== 'sent') return;
    for (const { id, outcome } of rotations) if (outcome !== 'unavailable') this.#told.add(id);
  }
}
