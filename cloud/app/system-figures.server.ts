/** What the System page shows, for its loader and for its script: one question, one answer. */
import type { PortalApi } from './api-types';
import { NODES_A_PAGE, type SystemQuestion } from './system-question';

export async function readSystemFigures(api: PortalApi, question: SystemQuestion) {
  const system = await api.system.get();
  const lags = await api.system.nodes({ ...question, limit: NODES_A_PAGE });
  return { at: system.at, system, lags };
}

export type SystemFigures = Awaited<ReturnType<typeof readSystemFigures>>;
