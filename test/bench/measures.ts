/**
 * The words of the proxy bench: who is measured, what is done with it, what a run yields. The names are what
 * `--json` writes, so that other programs can rely on them.
 */
export const PROXIES = [
  'mastline',
  'danted',
  'microsocks',
  'v2ray',
  'ss-libev',
  'tinyproxy',
  'haproxy',
] as const;
export type ProxyName = (typeof PROXIES)[number];

export const PROTOCOLS = ['socks5', 'http', 'shadowsocks'] as const;
export type Protocol = (typeof PROTOCOLS)[number];

export const SCENARIOS = ['download', 'upload', 'duplex', 'connect', 'echo', 'idle', 'slow-readers'] as const;
export type ScenarioName = (typeof SCENARIOS)[number];

/** What is measured. GB and MB are powers of ten. */
export const FIGURES = [
  'cpuSecondsPerGB',
  'megabytesPerSecond',
  'cpuMicrosPerConnection',
  'connectionsPerSecond',
  'p50Micros',
  'p99Micros',
  'rssBytesPerIdleFlow',
  'rssMegabytes',
] as const;
export type Figure = (typeof FIGURES)[number];

/** One proxy, spoken to in one protocol, in one scenario, once. */
export interface Run extends Partial<Record<Figure, number>> {
  proxy: ProxyName;
  protocol: Protocol;
  scenario: ScenarioName;
  /** From 1. */
  repeat: number;
  /** Threads that carry bytes: what the agent was told; null where the program decides. */
  threads: number | null;
  /** How long the load lasted. */
  seconds: number;
  /** CPU of the proxy with all its processes. */
  cpuSeconds?: number;
  /** Connections, or flows that were held. */
  flows: number;
  /** idle, slow-readers: RSS before the first flow; `rssMegabytes` is what the flows added to it. */
  rssBeforeMegabytes?: number;
  /** idle: how long all of them were held. */
  heldSeconds?: number;
  /** idle: from starting the program to the first accepted connection. */
  startMilliseconds?: number;
  /** echo: the round trips that the percentiles are of. */
  pings?: number;
  /** connect with several threads: each one's part of the CPU time, the busiest first. */
  threadShares?: number[];
}

/** What could not be measured, and why. */
export interface Failure {
  proxy: ProxyName;
  protocol: Protocol | null;
  scenario: ScenarioName | null;
  repeat: number | null;
  threads: number | null;
  reason: string;
}
