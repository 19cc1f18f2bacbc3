/** The part of the cloud in memory that gives modems other addresses: each rotation takes two looks, then has worked. */
import type { RecoveryReport } from '@mastline/shared/domain/modem';
import { TRPCError } from '@trpc/server';
import type {
  ModemDetailView,
  RotationLinkView,
  RotationView,
} from '../../../cloud/server/fleet/rotation-views';
import type { ModemView } from '../../../cloud/server/insight/views';
import type { PortalContext } from '../../../cloud/server/portal-context';

type Api = PortalContext['api'];

export class FakeRotations {
  readonly rotations: RotationView[] = [];
  links: RotationLinkView[] = [];
  schedule: ModemDetailView['schedule'] = null;
  /** What boxes did lately, whichever modem is asked about. */
  recoveries: RecoveryReport[] = [];
  /** What the next rotation comes to. */
  next: Partial<RotationView> = {};
  #looks = 0;

  modem(modem: ModemView | undefined): ModemDetailView {
    if (!modem) throw new TRPCError({ code: 'NOT_FOUND' });
    const { slotId, nodeName, nodeOnline, slot, model, virtual, state, reason, exitAddress, lastSeenAt } =
      modem;
    const rotated = this.rotations.filter(one => one.outcome === 'rotated').length;
    return {
      ...{ slotId, nodeName, nodeOnline, slot, model, virtual, state, reason, exitAddress, lastSeenAt },
      exitAddress6: exitAddress === null ? null : '2001:db8:7:101::2',
      schedule: this.schedule,
      rotations: [...this.rotations].reverse(),
      methods:
        this.rotations.length === 0
          ? []
          : [
              {
                ...{
                  method: 'data-switch',
                  carrier: 'Example Mobile',
                  tries: this.rotations.length,
                  rotated,
                },
                ...{ collisions: 0, p50Ms: 6200, p95Ms: 9100 },
              },
            ],
    };
  }

  start(modem: ModemView | undefined): RotationView {
    if (!modem) throw new TRPCError({ code: 'NOT_FOUND' });
    this.#looks = 0;
    const rotation: RotationView = {
      id: `01900000-0000-7000-8000-${String(900 + this.rotations.length).padStart(12, '0')}`,
      slot: modem.slot,
      askedFor: 'user',
      askedAt: Date.now(),
      ...{ endedAt: null, outcome: null, reason: '', method: null, oldAddress: null, newAddress: null },
      ...{ tookMs: null, attempts: null, carrier: null, retryAfterMs: null },
    };
    this.rotations.push(rotation);
    return rotation;
  }

  look(rotationId: string): RotationView {
    const at = this.rotations.findIndex(one => one.id === rotationId);
    const rotation = this.rotations[at];
    if (!rotation) throw new TRPCError({ code: 'NOT_FOUND' });
    this.#looks += 1;
    if (rotation.outcome === null && this.#looks >= 2)
      this.rotations[at] = {
        ...rotation,
        ...{ outcome: 'rotated', endedAt: Date.now(), method: 'data-switch', tookMs: 6200, attempts: 1 },
        ...{ oldAddress: '198.18.3.10', newAddress: '198.18.3.11', carrier: 'Example Mobile' },
        ...this.next,
      };
    return this.rotations[at] ?? rotation;
  }

  /** The routers, around the fake's way of noting calls. */
  routers(
    called: <T>(path: string, input: unknown, work: () => T) => Promise<T>,
    modem: (slotId: string) => ModemView | undefined,
  ): Pick<Api, 'modems' | 'rotations' | 'rotationLinks'> {
    return {
      modems: {
        get: input => called('modems.get', input, () => this.modem(modem(input.slotId))),
        recoveries: input => called('modems.recoveries', input, () => this.recoveries),
      },
      rotations: {
        start: input => called('rotations.start', input, () => this.start(modem(input.slotId))),
        get: input => called('rotations.get', input, () => this.look(input.id)),
        setSchedule: input =>
          called('rotations.setSchedule', input, () => {
            this.schedule = input.schedule;
          }),
      },
      rotationLinks: {
        list: input => called('rotationLinks.list', input, () => this.links),
        create: input =>
          called('rotationLinks.create', input, () => {
            const link = {
              id: `link-${this.links.length}`,
              name: input.name,
              createdAt: Date.now(),
              lastUsedAt: null,
            };
            this.links = [link, ...this.links];
            return { id: link.id, token: 'x7Qm2xVb9TfZr4LwNs8HdJ5cYp3' };
          }),
        revoke: input =>
          called('rotationLinks.revoke', input, () => {
            this.links = this.links.filter(one => one.id !== input.id);
          }),
      },
    };
  }
}
