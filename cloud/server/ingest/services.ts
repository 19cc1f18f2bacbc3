/** What ingest stands on beyond the services of the whole process: ways to the database that all sessions share. */
import { Turns } from '../db/turns';
import { type ApplyModemReport, modemReports } from '../fleet/node-reports';
import { greetingFacts, type ReadGreetingFacts } from '../rollout/greeting-facts';
import type { StateSigner } from '../rollout/signing';
import type { Services } from '../rpc/context';

export interface IngestServices extends Services {
  signer: StateSigner;
  readGreetingFacts: ReadGreetingFacts;
  applyModemReport: ApplyModemReport;
  /** For transactions of single nodes. */
  turns: Turns;
}

export function ingestServices(services: Services, signer: StateSigner): IngestServices {
  const turns = new Turns(services.db.kind);
  return {
    ...services,
    signer,
    turns,
    readGreetingFacts: greetingFacts({ ...services, signer }),
    applyModemReport: modemReports(services, turns),
  };
}
