/** What addresses, rules and routes this machine has now, as `ip` tells; and which of the wanted ones are missing. */
import { z } from 'zod';
import type { NetworkItem } from './network-journal';
import { askIp, type RunIp } from './run-ip';

const Links = z.array(
  z.looseObject({
    ifname: z.string().optional(),
    ifindex: z.number().optional(),
    flags: z.array(z.string()).optional(),
    mtu: z.number().optional(),
    addr_info: z
      .array(z.looseObject({ local: z.string().optional(), prefixlen: z.number().optional() }))
      .optional(),
  }),
);
/** `ip -N` writes numbers, but as strings where names could stand. */
const Loose = z.union([z.string(), z.number()]);
const Rules = z.array(
  z.looseObject({
    priority: z.number(),
    src: z.string().optional(),
    srclen: z.number().optional(),
    table: Loose.optional(),
  }),
);
const Routes = z.array(
  z.looseObject({
    type: Loose.optional(),
    dst: z.string(),
    gateway: z.string().optional(),
    dev: z.string().optional(),
    table: Loose.optional(),
    metric: z.number().optional(),
  }),
);

export interface NetworkSurvey {
  /** `index` is another one when another interface has got the name. */
  links: Map<string, { up: boolean; mtu?: number | undefined; index?: number | undefined }>;
  addresses: { interface: string; address: string; prefix: number }[];
  rules: { priority: number; from: string; table: number }[];
  routes: { dst: string; dev: string; gateway: string; table: number; metric: number; family?: 6 }[];
}

/** Asks `ip` for everything of IPv4, and of IPv6 where a slot has it: each batch of questions is a process. */
export async function surveyNetwork(runIp: RunIp, { ipv6 = false } = {}): Promise<NetworkSurvey> {
  const [all = '', ...four] = await askIp(runIp, ['link show', ...OF_A_FAMILY]);
  const survey: NetworkSurvey = { links: linksIn(all), ...familyIn(four) };
  if (!ipv6) return survey;
  const six = familyIn(await askIp(runIp, OF_A_FAMILY, 6), 6);
  survey.addresses.push(...six.addresses);
  survey.rules.push(...six.rules);
  survey.routes.push(...six.routes);
  return survey;
}

const OF_A_FAMILY = ['address show', 'rule show', 'route show table all'];

function linksIn(text: string): NetworkSurvey['links'] {
  return new Map(
    Links.parse(JSON.parse(text)).flatMap(link =>
      link.ifname
        ? [[link.ifname, { up: link.flags?.includes('UP') ?? false, mtu: link.mtu, index: link.ifindex }]]
        : [],
    ),
  );
}

function familyIn(
  [addressed = '', ruled = '', routed = '']: string[],
  family?: 6,
): Omit<NetworkSurvey, 'links'> {
  const links = Links.parse(JSON.parse(addressed));
  const rules = Rules.parse(JSON.parse(ruled));
  const routes = Routes.parse(JSON.parse(routed));
  return {
    addresses: links.flatMap(link =>
      (link.addr_info ?? []).flatMap(info =>
        link.ifname && info.local
          ? [{ interface: link.ifname, address: info.local, prefix: info.prefixlen ?? 32 }]
          : [],
      ),
    ),
    rules: rules.map(rule => ({
      priority: rule.priority,
      from: rule.src ?? 'all',
      table: Number(rule.table ?? 0),
    })),
    routes: routes.map(route => ({
      dst: route.dst,
      dev: route.dev ?? '',
      gateway: route.gateway ?? '',
      // Routes of the main table come without one.
      table: Number(route.table ?? 254),
      metric: route.metric ?? 0,
      ...(family === undefined ? {} : { family }),
    })),
  };
}

/** Is the item there? Compared by what makes it work, not by how it is spelled. */
export function isPresent(item: NetworkItem, survey: NetworkSurvey): boolean {
  switch (item.kind) {
    case 'link-up':
      return survey.links.get(item.interface)?.up === true;
    case 'mtu':
      return survey.links.get(item.interface)?.mtu === item.mtu;
    case 'address':
      return survey.addresses.some(one => one.interface === item.interface && one.address === item.address);
    case 'rule':
      return survey.rules.some(
        one => one.from === item.from && one.table === item.table && one.priority === item.priority,
      );
    case 'namespace':
    case 'veth':
    case 'moved':
    case 'step':
      return survey.links.has(item.veth);
    case 'route': {
      const after = (word: string) => {
        const at = item.words.indexOf(word);
        return at < 0 ? undefined : item.words[at + 1];
      };
      const dst = item.words[0] === 'unreachable' ? item.words[1] : item.words[0];
      return survey.routes.some(
        one =>
          one.table === item.table &&
          one.family === item.family &&
          one.dst === dst &&
          one.dev === (after('dev') ?? one.dev) &&
          one.gateway === (after('via') ?? '') &&
          one.metric === Number(after('metric') ?? 0),
      );
    }
  }
}
