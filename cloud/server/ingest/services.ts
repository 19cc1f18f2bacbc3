/** What ingest stands on beyond the services of the whole process: ways to the database that all sessions share. */
import type { SignedState } from '@mastline/shared/domain/desired-state';
import { Gather } from '../db/gather';
import { Turns } from '../db/turns';
import { type ApplyModemReport, modemReports } from '../fleet/node-reports';
import { greetingFacts, type ReadGreetingFacts } from '../rollout/greeting-facts';
import { bringAllUpToDate, type NewestOf, noteStateReports, type StateWord } from '../rollout/publish';
import type { StateSigner } from '../rollout/signing';
import type { Services } from '../rpc/context';

export interface IngestServices extends Services {
  signer: StateSigner;
  readGreetingFacts: ReadGreetingFacts;
  applyModemReport: ApplyModemReport;
  /** The newest desired state of a node, made now if people have set something since. */
  newestState(nodeId: string): Promise<SignedState>;
  noteStateReport(word: StateWord): Promise<true>;
  /** For transactions of single nodes, and of groups of them. */
  turns: Turns;
}

/** Nodes of one transaction: each may mean a state to be compiled and signed, a third of a millisecond. */
const MOST_STATES_AT_ONCE = 32;
const MOST_WORDS_AT_ONCE = 128;
const MOST_WAITING = 8_192;

export function ingestServices(services: Services, signer: StateSigner): IngestServices {
  const turns = new Turns(services.db.kind);
  const { db, secrets, clock } = services;
  const states = new Gather<string, NewestOf>({
    most: MOST_STATES_AT_ONCE,
    mostWaiting: MOST_WAITING,
    ask: nodeIds =>
      turns.take(() => bringAllUpToDate({ db, secrets, signer }, { nodeIds, now: clock.now() })),
  });
  const words = new Gather<StateWord, true>({
    most: MOST_WORDS_AT_ONCE,
    mostWaiting: MOST_WAITING,
    async ask(said) {
      await turns.take(() => noteStateReports(db, said, clock.now()));
      return said.map(() => true as const);
    },
  });
  return {
    ...services,
    signer,
    turns,
    readGreetingFacts: greetingFacts({ ...services, signer }),
    async newestState(nodeId) {
      const newest = await states.ask(nodeId);
      if ('error' in newest) throw newest.error;
      return newest.state;
    },
    noteStateReport: word => words.ask(word),
    applyModemReport: modemReports(services, turns),
  };
}
