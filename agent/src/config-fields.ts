/** Fields that both kinds of configuration file have. What a file is made of: config.ts, standalone-file.ts. */
import { isIP } from 'node:net';
import { parseAddressRange } from '@mastline/shared/domain/ip-range';
import { z } from 'zod';

export const Address = z.string().refine(text => isIP(text) !== 0, 'must be an IPv4 or IPv6 address');

const AllowTarget = z
  .string()
  .refine(
    text => parseAddressRange(text) !== null,
    'must be a range such as 10.0.0.0/8, 127.0.0.1:8000 or [fd00::/8]:443',
  );
export const AllowTargets = z.array(AllowTarget).max(1_024).default([]);

/** Threads that carry bytes; what "auto" means stands in data-plane/thread-count.ts. */
export const Threads = z.union([z.int().min(1).max(64), z.literal('auto')], {
  error: 'must be a number from 1 to 64, or "auto"',
});

/** Whether floods are held off by nftables as well, where the agent may (data-plane/firewall.ts). */
export const Firewall = z.boolean().default(true);

/** Where `GET /metrics` is served, for Prometheus; nowhere when left out. It asks for no password. */
export const Metrics = z.strictObject({
  host: Address.default('127.0.0.1'),
  port: z.int().min(1).max(65_535),
});
