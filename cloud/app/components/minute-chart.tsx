/** An hour by minutes: records stored as bars, and a mark above where some were missing or refused. */
import { scaleLinear } from 'd3-scale';
import type { SystemView } from '../api-types';
import { formatClock } from '../time';
import { BarChart } from './bar-chart';
import { useZone } from './moment';

const HEIGHT = 180;
const TOP = 10;
const FLOOR = HEIGHT - 28;
/** A label under every so many bars. */
const TICK_EVERY = 15;
const WORDS = { stored: 'Stored', duplicates: 'Duplicates', gaps: 'Gaps', refused: 'Refused' } as const;

type Minute = SystemView['ingest']['minutes'][number];

export function MinuteChart({ minutes }: { minutes: readonly Minute[] }) {
  const zone = useZone();
  const y = scaleLinear([0, Math.max(4, ...minutes.map(minute => minute.stored))], [FLOOR, TOP]).nice(4);
  const width = 100 / minutes.length;
  const bar = (index: number) => ({ x: `${(index + 0.14) * width}%`, width: `${width * 0.72}%` });
  const read = (at: number | undefined) => {
    const chosen = at === undefined ? undefined : minutes[at];
    const shown = chosen === undefined ? minutes : [chosen];
    const label = chosen === undefined ? 'Whole hour' : formatClock(chosen.at, zone);
    const figures = (['stored', 'duplicates', 'gaps', 'refused'] as const).map(name => ({
      ...{ name, word: WORDS[name] },
      value: shown.reduce((sum, minute) => sum + minute[name], 0).toLocaleString('en'),
      ...(name === 'stored' ? { colour: 'down' as const } : {}),
    }));
    const facts = figures.map(({ word, value }) => `${value} ${word.toLowerCase()}`);
    return { label, figures, said: `${label}: ${facts.join(', ')}` };
  };
  return (
    <BarChart
      className="chart-minutes"
      count={minutes.length}
      heights={{ height: HEIGHT, top: TOP, floor: FLOOR }}
      label="Records stored by minute. Use the arrow keys to walk along the minutes."
      lines={y.ticks(4)}
      y={y}
      lineName={short}
      read={read}
    >
      <g className="chart-down">
        {minutes.map((minute, index) =>
          minute.stored === 0 ? null : (
            <rect
              key={minute.at}
              {...bar(index)}
              y={y(minute.stored)}
              // What came must be seen, however little it is beside the rest.
              height={Math.max(1, FLOOR - y(minute.stored))}
            />
          ),
        )}
      </g>
      {minutes.map((minute, index) =>
        minute.gaps + minute.refused === 0 ? null : (
          <rect key={minute.at} className="chart-trouble" {...bar(index)} y={0} height={4} />
        ),
      )}
      {minutes.map((minute, index) =>
        (minutes.length - 1 - index) % TICK_EVERY === 0 ? (
          <text
            key={minute.at}
            x={index === minutes.length - 1 ? '100%' : `${(index + 0.5) * width}%`}
            y={HEIGHT - 8}
            textAnchor={index === minutes.length - 1 ? 'end' : 'middle'}
          >
            {formatClock(minute.at, zone)}
          </text>
        ) : null,
      )}
    </BarChart>
  );
}

/** 1,500,000 → "1.5M": for an axis, where room is short. */
function short(value: number): string {
  if (value >= 1e6) return `${Number((value / 1e6).toFixed(1))}M`;
  if (value >= 1e3) return `${Number((value / 1e3).toFixed(1))}k`;
  return String(Number(value.toFixed(1)));
}
