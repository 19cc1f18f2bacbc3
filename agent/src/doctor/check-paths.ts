/**
 * The way through each modem that the running agent has up: names, a small answer, and whether large packets pass.
 * A way that swallows large packets (a broken path MTU discovery at the carrier) lets small requests through and hangs
 * on everything else. Costs about 10 KB of SIM data for each modem.
 */
import { Resolver } from 'node:dns';
import { isIP } from 'node:net';
import { codeOf, messageOf } from '@mastline/shared/base/coded-error';
import { askFrom, familyOf, serversFor, urlsFor } from '../modem-plane/address-family';
import { boundRequest } from '../modem-plane/bound-request';
import type { Finding } from './finding';
import { sayer } from './finding';
import type { Patient } from './patient';

const DNS_TIMEOUT_MS = 3000;
const DNS_TRIES = 2;
const ASK_DEADLINE_MS = 10_000;
const MAX_BYTES = 64 * 1024;
/** More than two full packets of Ethernet, and less than servers take as a header. */
const PADDING_BYTES = 6000;
const TOOL_DEADLINE_MS = 5000;
/** IPv6 asks for as much of every link (RFC 8200); carriers that give less break much. */
const MIN_MTU = 1280;
/** Well-known, and asked nothing: only the way there is looked up. */
const FAR_AWAY = { 4: '1.1.1.1', 6: '2606:4700:4700::1111' } as const;
const NO_SUCH_NAME = new Set(['ENOTFOUND', 'ENODATA']);

interface Way {
  slot: number;
  sourceAddress: string;
  dnsServers: readonly string[];
  interface: string | null;
}

export async function checkPaths(patient: Patient): Promise<Finding[]> {
  const say = sayer('paths');
  const { status } = patient;
  if (status === null)
    return [
      say.note(
        'The ways through the modems were not tried: no agent was asked.',
        'Start the agent, and name its --config FILE.',
      ),
    ];
  const ways = status.slots.flatMap(({ slot, sourceAddress, state, interface: name }): Way[] => {
    const way = status.ways.find(one => one.slot === slot);
    return state === 'connected' && sourceAddress !== null
      ? [{ slot, sourceAddress, dnsServers: way?.dnsServers ?? [], interface: name }]
      : [];
  });
  if (ways.length === 0) return [say.note('No modem is connected, so no way was tried.')];
  return (await Promise.all(ways.map(way => tryWay(way, patient)))).flat();
}

async function tryWay(way: Way, patient: Patient): Promise<Finding[]> {
  return [await names(way, patient), ...(await packets(way, patient))];
}

/** A name that the configuration itself needs, else the root of all names. */
async function names({ slot, sourceAddress, dnsServers }: Way, { config }: Patient): Promise<Finding> {
  const say = sayer('paths');
  if (dnsServers.length === 0)
    return say.warning(
      `Slot ${slot}: the modem names no name server; names are asked of the box’s own, beside the modem.`,
      'Give the slot "dnsServers".',
    );
  const url = config?.echoUrls.find(one => isIP(new URL(one).hostname) === 0);
  const name = url === undefined ? null : new URL(url).hostname;
  const resolver = new Resolver({ timeout: DNS_TIMEOUT_MS, tries: DNS_TRIES });
  const servers = serversFor(sourceAddress, dnsServers).join(', ');
  if (!askFrom(resolver, sourceAddress, dnsServers))
    return say.warning(
      `Slot ${slot}: none of the name servers ${dnsServers.join(', ')} can be asked from ${sourceAddress}.`,
      'Give the slot "dnsServers" of that family.',
    );
  const asked = performance.now();
  const code = await new Promise<string | null>(done => {
    const end = (error: NodeJS.ErrnoException | null) =>
      done(error === null ? null : (error.code ?? error.message));
    if (name === null) resolver.resolveNs('.', end);
    else if (familyOf(sourceAddress) === 4) resolver.resolve4(name, end);
    else resolver.resolve6(name, end);
  });
  const answered = `Slot ${slot}: names are answered by ${servers} in ${Math.round(performance.now() - asked)} ms`;
  if (code === null) return say.ok(`${answered}.`);
  // "No such name" is an answer, too.
  if (NO_SUCH_NAME.has(code))
    return name === null
      ? say.ok(`${answered}.`)
      : say.warning(`${answered}, but "${name}" is not among them.`);
  return say.failure(
    `Slot ${slot}: ${servers} did not answer for "${name ?? '.'}" (${code}).`,
    'Give the slot "dnsServers" that can be reached through it, for instance 1.1.1.1.',
  );
}

async function packets(way: Way, patient: Patient): Promise<Finding[]> {
  const say = sayer('paths');
  const { config, clock } = patient;
  const [url] = urlsFor(way.sourceAddress, config?.echoUrls ?? []);
  if (url === undefined)
    return [
      say.note(
        `Slot ${way.slot}: no echo service is configured, so packets were not tried.`,
        'Set "echoUrls".',
      ),
    ];
  const ask = (padding: number) =>
    boundRequest({
      url,
      localAddress: way.sourceAddress,
      dnsServers: way.dnsServers,
      headers: padding === 0 ? {} : { 'x-padding': 'x'.repeat(padding) },
      deadlineMs: ASK_DEADLINE_MS,
      maxBytes: MAX_BYTES,
      clock,
    });
  try {
    await ask(0);
  } catch (error) {
    return [
      say.failure(
        `Slot ${way.slot}: ${url} cannot be reached through it (${messageOf(error)}).`,
        'The modem may be connected and carry nothing: rotate it, or look at the SIM’s credit.',
      ),
    ];
  }
  const findings: Finding[] = [];
  try {
    await ask(PADDING_BYTES);
    findings.push(say.ok(`Slot ${way.slot}: small and large packets pass.`));
  } catch (error) {
    findings.push(
      codeOf(error) === 'request/timeout'
        ? say.failure(
            `Slot ${way.slot}: small packets pass and large ones vanish.`,
            `Lower the interface’s MTU until they pass: ip link set dev ${way.interface ?? 'INTERFACE'} mtu 1400, then 1340, then 1280.`,
          )
        : say.note(`Slot ${way.slot}: large packets could not be tried (${messageOf(error)}).`),
    );
  }
  const mtu = await pathMtu(way, patient);
  if (mtu !== null)
    findings.push(
      mtu < MIN_MTU
        ? say.warning(
            `Slot ${way.slot}: packets of at most ${mtu} bytes pass; under ${MIN_MTU} much does not work.`,
            'Ask the carrier for another APN.',
          )
        : say.ok(`Slot ${way.slot}: packets of up to ${mtu} bytes leave in one piece.`),
    );
  return findings;
}

/** What the kernel has learnt of the way: the interface's MTU, or less when somebody on the way said so. */
async function pathMtu({ sourceAddress }: Way, { config, runTool }: Patient): Promise<number | null> {
  const family = familyOf(sourceAddress);
  const echo = config?.echoUrls
    .map(one => new URL(one).hostname.replace(/^\[|\]$/g, ''))
    .find(host => isIP(host) === family);
  try {
    const said = await runTool(
      'ip',
      [`-${family}`, '-d', 'route', 'get', echo ?? FAR_AWAY[family], 'from', sourceAddress],
      TOOL_DEADLINE_MS,
    );
    const learnt = /\bmtu (\d+)/.exec(said)?.[1];
    if (learnt !== undefined) return Number(learnt);
    const name = /\bdev (\S+)/.exec(said)?.[1];
    if (name === undefined) return null;
    const link = await runTool('ip', ['-o', 'link', 'show', 'dev', name], TOOL_DEADLINE_MS);
    const own = /\bmtu (\d+)/.exec(link)?.[1];
    return own === undefined ? null : Number(own);
  } catch {
    // Without rights to ask, or without ip: what passes was tried above all the same.
    return null;
  }
}
