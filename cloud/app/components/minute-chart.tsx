/**
 * An hour by minutes as bars, what was refused marked above. Heights are fixed and widths percentages, as in
 * usage-chart.tsx, whose keys and classes it shares; there bytes are stacked, here records are counted.
 */
import { scaleLinear } from 'd3-scale';
import { type KeyboardEvent, type PointerEvent, useId, useState } from 'react';
import type { SystemView } from '../api-types';
import { formatClock } from '../time';
import { useZone } from './moment';

const HEIGHT = 180;
const TOP = 10;
const FLOOR = HEIGHT - 28;
/** A label under every so many bars. */
const TICK_EVERY = 15;

type Minute = SystemView['ingest']['minutes'][number];

export function MinuteChart({ minutes }: { minutes: readonly Minute[] }) {
  const [at, setAt] = useState<number>();
  const readOutId = useId();
  const zone = useZone();
  const chosen = at === undefined ? undefined : minutes[at];
  const scale = scaleLinear([0, Math.max(4, ...minutes.map(minute => minute.stored))], [FLOOR, TOP]).nice(4);
  const width = 100 / minutes.length;
  const x = (index: number) => index * width;

  const onKeyDown = (event: KeyboardEvent) => {
    const last = minutes.length - 1;
    const next: Record<string, number | undefined> = {
      ArrowRight: Math.min(last, (at ?? -1) + 1),
      ArrowLeft: Math.max(0, (at ?? last + 1) - 1),
      Home: 0,
      End: last,
      Escape: undefined,
    };
    if (!(event.key in next)) return;
    event.preventDefault();
    setAt(next[event.key]);
  };
  const onPointer = (event: PointerEvent<SVGSVGElement>) => {
    const box = event.currentTarget.getBoundingClientRect();
    const index = Math.floor(((event.clientX - box.left) / box.width) * minutes.length);
    setAt(Math.max(0, Math.min(minutes.length - 1, index)));
  };
  const label = chosen === undefined ? 'Whole hour' : formatClock(chosen.at, zone);
  const shown = chosen === undefined ? minutes : [chosen];
  const facts = (['stored', 'duplicates', 'gaps', 'refused'] as const).map(
    name => [name, shown.reduce((sum, minute) => sum + minute[name], 0).toLocaleString('en')] as const,
  );

  return (
    <figure className="chart chart-minutes">
      <figcaption className="chart-read" id={readOutId}>
        <span className="chart-label" data-chart="label">
          {label}
        </span>
        <dl className="chart-figures">
          {facts.map(([name, value]) => (
            <div key={name}>
              <dt>
                {name === 'stored' && <span className="key key-down" />}
                {WORDS[name]}
              </dt>
              <dd className="number" data-chart={name}>
                {value}
              </dd>
            </div>
          ))}
        </dl>
      </figcaption>
      <div className="chart-plot">
        <div className="chart-axis">
          <svg width="100%" height={HEIGHT} aria-hidden="true" focusable="false">
            {scale.ticks(4).map(value => (
              <text key={value} x="100%" dx="-10" y={scale(value)} dy="0.32em" textAnchor="end">
                {short(value)}
              </text>
            ))}
          </svg>
        </div>
        {/* A slider is what a walk along bars is to a screen reader. */}
        <div
          className="chart-bars"
          role="slider"
          tabIndex={0}
          aria-label="Records stored by minute. Use the arrow keys to walk along the minutes."
          aria-valuemin={0}
          aria-valuemax={minutes.length - 1}
          aria-valuenow={at ?? 0}
          aria-valuetext={`${label}: ${facts.map(([name, value]) => `${value} ${WORDS[name].toLowerCase()}`).join(', ')}`}
          onKeyDown={onKeyDown}
          onBlur={() => setAt(undefined)}
        >
          <svg
            width="100%"
            height={HEIGHT}
            onPointerMove={onPointer}
            onPointerDown={onPointer}
            onPointerLeave={() => setAt(undefined)}
            aria-hidden="true"
            focusable="false"
          >
            {scale.ticks(4).map(value => (
              <line key={value} className="chart-grid" x1="0" x2="100%" y1={scale(value)} y2={scale(value)} />
            ))}
            {at !== undefined && (
              <rect
                className="chart-cursor"
                x={`${x(at)}%`}
                width={`${width}%`}
                y={TOP}
                height={FLOOR - TOP}
              />
            )}
            <g className="chart-down">
              {minutes.map((minute, index) =>
                minute.stored === 0 ? null : (
                  <rect
                    key={minute.at}
                    x={`${x(index) + width * 0.14}%`}
                    width={`${width * 0.72}%`}
                    y={scale(minute.stored)}
                    // What came must be seen, however little it is beside the rest.
                    height={Math.max(1, FLOOR - scale(minute.stored))}
                  />
                ),
              )}
            </g>
            {minutes.map((minute, index) =>
              minute.gaps + minute.refused === 0 ? null : (
                <rect
                  key={minute.at}
                  className="chart-trouble"
                  x={`${x(index) + width * 0.14}%`}
                  width={`${width * 0.72}%`}
                  y={0}
                  height={4}
                />
              ),
            )}
            {minutes.map((minute, index) =>
              (minutes.length - 1 - index) % TICK_EVERY === 0 ? (
                <text
                  key={minute.at}
                  x={index === minutes.length - 1 ? '100%' : `${x(index) + width / 2}%`}
                  y={HEIGHT - 8}
                  textAnchor={index === minutes.length - 1 ? 'end' : 'middle'}
                >
                  {formatClock(minute.at, zone)}
                </text>
              ) : null,
            )}
          </svg>
        </div>
      </div>
    </figure>
  );
}

const WORDS = { stored: 'Stored', duplicates: 'Duplicates', gaps: 'Gaps', refused: 'Refused' } as const;

/** 1,500,000 → "1.5M": for an axis, where room is short. */
function short(value: number): string {
  if (value >= 1e6) return `${Number((value / 1e6).toFixed(1))}M`;
  if (value >= 1e3) return `${Number((value / 1e3).toFixed(1))}k`;
  return String(Number(value.toFixed(1)));
}
