/**
 * Turns indications into events of the driver contract. Only changes are told: firmware repeats itself, and a storm of equal
 * indications is one event.
 */
import type { Log } from '../../../observe/log';
import type { DriverEvent, Outcome, SimState } from '../../driver';
import type { RegisterState } from './basic-connect';
import type { PacketService } from './data-connection';
import type { Indication } from './indications';
import { registrationOf, simOf } from './readings';

export interface EventFeedOptions {
  log: Log;
  /** Asks the modem, since a locked SIM does not say by what. */
  sim: () => Promise<Outcome<SimState>>;
}

const SESSION = 0;

export class EventFeed {
  readonly #options: EventFeedOptions;
  readonly #listeners: ((event: DriverEvent) => void)[] = [];
  readonly #last = new Map<DriverEvent['kind'], string>();
  #register: RegisterState | null = null;
  #packetService: PacketService | null = null;
  #askingSim = false;
  #lost: string | undefined;
  #ended = false;

  constructor(options: EventFeedOptions) {
    this.#options = options;
  }

  /** A modem that went before anybody listened is told to the one who comes. */
  listen(listener: (event: DriverEvent) => void): void {
    this.#listeners.push(listener);
    const lost = this.#lost;
    if (lost !== undefined) queueMicrotask(() => listener({ kind: 'gone', reason: lost }));
  }

  /** What was read by a request is known to who asked: the same as an event would be no news. */
  note(event: DriverEvent): void {
    this.#last.set(event.kind, JSON.stringify(event));
  }

  take(indication: Indication): void {
    switch (indication.kind) {
      case 'register':
        this.#register = indication.register;
        this.#tellRegistration();
        return;
      case 'packet-service':
        this.#packetService = indication.packetService;
        this.#tellRegistration();
        return;
      case 'connect': {
        const { session, state } = indication.connect;
        if (session === SESSION && (state === 'activated' || state === 'deactivated'))
          this.#tellChange({ kind: 'bearer', connected: state === 'activated' });
        return;
      }
      case 'subscriber': {
        const sim = simOf(indication.subscriber);
        if (sim === 'ask-pin') void this.#askSim();
        else if (sim !== 'starting') this.#tellChange({ kind: 'sim', sim });
        return;
      }
      case 'messages':
      case 'message-store':
        // New, or the store is full: either way there is something to read.
        this.#tell({ kind: 'message-received' });
        return;
      case 'radio':
      case 'ussd':
        return;
    }
  }

  gone(reason: string): void {
    this.#lost = reason;
    this.#tell({ kind: 'gone', reason });
    this.#ended = true;
  }

  end(): void {
    this.#ended = true;
  }

  #tellRegistration(): void {
    if (this.#register === null) return;
    const registration = registrationOf(this.#register, this.#packetService);
    this.#tellChange({ kind: 'registration', registration });
  }

  /** One question at a time, however often the modem says that it is locked. */
  async #askSim(): Promise<void> {
    if (this.#askingSim) return;
    this.#askingSim = true;
    try {
      const sim = await this.#options.sim();
      if (sim.ok) this.#tellChange({ kind: 'sim', sim: sim.value });
      else this.#options.log.warn('the SIM is locked and does not say by what', { ...sim.fault });
    } finally {
      this.#askingSim = false;
    }
  }

  #tellChange(event: DriverEvent): void {
    const text = JSON.stringify(event);
    if (this.#last.get(event.kind) === text) return;
    this.#last.set(event.kind, text);
    this.#tell(event);
  }

  #tell(event: DriverEvent): void {
    if (this.#ended) return;
    for (const listener of this.#listeners) listener(event);
  }
}
