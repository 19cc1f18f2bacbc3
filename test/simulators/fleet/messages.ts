/** What the process that runs a fleet and those that play it tell each other. */
import type { FleetShape } from './identity';
import type { Knobs } from './knobs';

export type ToGenerator =
  | { is: 'begin'; shape: FleetShape; knobs: Knobs; from: number; to: number; url: string; place: number }
  | { is: 'offline' }
  | { is: 'online' }
  /** No new records, no churn; what is in the spools still goes out. */
  | { is: 'settle' }
  | { is: 'stop' };

export interface GeneratorFigures {
  is: 'figures';
  nodes: number;
  connected: number;
  committed: number;
  acknowledged: number;
  /** Welcomes since the last figures. */
  welcomes: number;
  /** Seconds from the loss of a link to the next welcome, of those since the last figures. */
  reconnectSeconds: number[];
  refusals: Record<string, number>;
  sentBytes: number;
}

export type FromGenerator =
  | GeneratorFigures
  | { is: 'result'; from: number; committed: number[]; acknowledged: number[]; liars: number[] }
  | { is: 'fault'; message: string };
