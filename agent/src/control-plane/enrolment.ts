/**
 * Makes a box a node, once in its life: a claim code and the device's public key against a node id and the keys
 * whose signatures it will trust. Opening links with that identity is link.ts.
 */
import { type Clock, systemClock } from '@mastline/shared/base/clock';
import { CodedError } from '@mastline/shared/base/coded-error';
import { parseOrExplain } from '@mastline/shared/base/problems';
import { CONSENT_TEXT_VERSION, EnrolReply, EnrolRequest, REFUSAL } from '@mastline/shared/wire/enrolment';
import type { Log } from '../observe/log';
import type { Identity, StateStore } from '../spool/state-store';
import { askCloud } from './cloud-request';
import type { CloudRoute } from './cloud-route';

export interface EnrolOptions {
  cloudUrl: string;
  route?: CloudRoute;
  claimCode: string;
  agentVersion: string;
  hostname: string;
  /** Who agreed to the consent text on this box, as they gave their name. */
  acceptedBy: string;
  store: StateStore;
  log: Log;
  clock?: Clock;
}

export type Enrolment = { is: 'enrolled' | 'already-enrolled'; identity: Identity };

/**
 * Enrols unless the node already is (then the claim code is left unused). Safe to repeat after a crash at any point:
 * the device key is on disk first, and the cloud answers the same key and code as it did before. Throws
 * `enrol/…` with a sentence for people, `cloud/unreachable`, or a `disk/…` code.
 */
export async function enrol(options: EnrolOptions): Promise<Enrolment> {
  const { store, log } = options;
  const known = await store.identity();
  if (known) {
    if (!sameCloud(known.cloudUrl, options.cloudUrl))
      throw new CodedError(
        'enrol/other-cloud',
        `this node is enrolled at ${known.cloudUrl}, not at ${options.cloudUrl}`,
        {
          userMessage: `This box is already enrolled at ${known.cloudUrl}. To move it to ${options.cloudUrl}, give the agent a new data directory.`,
        },
      );
    return { is: 'already-enrolled', identity: known };
  }
  const key = await store.deviceKey();
  const request = parseOrExplain(
    EnrolRequest,
    {
      claimCode: options.claimCode.trim(),
      publicKey: key.publicKey,
      agentVersion: options.agentVersion,
      hostname: options.hostname,
      consent: { textVersion: CONSENT_TEXT_VERSION, acceptedBy: options.acceptedBy },
    },
    'the enrolment',
    'enrol/invalid',
  );
  warnOfPlainText(options.cloudUrl, log);
  const answer = await askCloud({
    cloudUrl: options.cloudUrl,
    ...(options.route ? { route: options.route } : {}),
    path: '/agent/enrol',
    body: request,
    answer: EnrolReply,
    clock: options.clock ?? systemClock,
  });
  if (answer.is === 'refused') {
    const { code, message } = answer.refusal;
    throw new CodedError(code, `enrolment refused with status ${answer.status}: ${message}`, {
      userMessage: remedyOf(code) ?? `The cloud refused the enrolment: ${message}`,
      retryable: answer.status >= 500 || answer.status === 429,
    });
  }
  const identity: Identity = { ...answer.body, cloudUrl: options.cloudUrl };
  await store.saveIdentity(identity);
  log.info('enrolled', { nodeId: identity.nodeId, cloudUrl: identity.cloudUrl });
  return { is: 'enrolled', identity };
}

function remedyOf(code: string): string | undefined {
  switch (code) {
    case REFUSAL.claimUnknown:
      return 'The claim code is not known. Check it for typing errors, or make a new one in the portal.';
    case REFUSAL.claimUsed:
      return 'The claim code has been used already. Make a new one in the portal.';
    case REFUSAL.claimExpired:
      return 'The claim code has expired. Make a new one in the portal.';
    default:
      return undefined;
  }
}

function sameCloud(a: string, b: string): boolean {
  return new URL(a).href.replace(/\/+$/, '') === new URL(b).href.replace(/\/+$/, '');
}

function warnOfPlainText(cloudUrl: string, log: Log): void {
  const { protocol, hostname } = new URL(cloudUrl);
  const isHere = hostname === 'localhost' || hostname === '[::1]' || hostname.startsWith('127.');
  if (protocol === 'http:' && !isHere)
    log.warn('the cloud is reached without TLS: the claim code and usage can be read on the way', {
      cloudUrl,
    });
}
