/**
 * What must hold after a round. Pure: counts in, sentences about what is wrong out; none is good. Who counts what:
 * the spool says what it committed, the ledger what it holds, the clients and the origin what their kernels gave and took.
 */

export interface Bytes {
  up: number;
  down: number;
}

export interface RoundCounts {
  /** Of this round: what was committed, which the ledger holds to the byte (checked on the sums since the beginning). */
  charged: Bytes;
  client: { sent: number; received: number; broken: number };
  origin: { sent: number; received: number };
  agentDeaths: number;
  /** A crash of the agent loses at most so many bytes. */
  boundPerDeath: number;
}

export function judgeRound(counts: RoundCounts): string[] {
  const { charged, client, origin, agentDeaths } = counts;
  const problems: string[] = [];
  const bound = agentDeaths * counts.boundPerDeath;
  if (charged.up > client.sent)
    problems.push(`charged ${charged.up} up, but clients sent only ${client.sent}`);
  if (charged.down > origin.sent)
    problems.push(`charged ${charged.down} down, but the origin sent only ${origin.sent}`);
  const loss = lossOf(counts);
  if (loss > bound)
    problems.push(`${loss} bytes were carried and not charged; ${agentDeaths} deaths allow ${bound}`);
  if (agentDeaths > 0) return problems;
  if (charged.up !== origin.received)
    problems.push(
      `nothing killed the agent: charged ${charged.up} up, the origin received ${origin.received}`,
    );
  if (charged.down !== client.received)
    problems.push(
      `nothing killed the agent: charged ${charged.down} down, clients received ${client.received}`,
    );
  if (client.broken > 0) problems.push(`nothing killed the agent, but ${client.broken} flows broke`);
  return problems;
}

/** Bytes that came out at the other ends and are not on the bill; below zero when kernels dropped what was charged. */
export function lossOf({ charged, client, origin }: RoundCounts): number {
  return origin.received - charged.up + (client.received - charged.down);
}

export interface LedgerNumbers {
  epoch: string;
  mark: number;
  /** Records of the epoch, and how many different numbers they have. */
  records: number;
  numbers: number;
  lowest: number;
  highest: number;
}

/** The numbers of each epoch run from 1 to its mark, each once. */
export function judgeNumbers(epochs: readonly LedgerNumbers[]): string[] {
  const problems: string[] = [];
  for (const { epoch, mark, records, numbers, lowest, highest } of epochs) {
    if (records !== numbers) problems.push(`epoch ${epoch}: ${records - numbers} records are doubled`);
    if (highest !== mark || numbers !== mark || (mark > 0 && lowest !== 1))
      problems.push(
        `epoch ${epoch}: mark ${mark}, but ${numbers} numbers from ${lowest} to ${highest} are in the ledger`,
      );
  }
  return problems;
}
