/**
 * The frame of a chart of bars: read-out, axis, grid, a cursor that the pointer moves, or the arrow keys. Widths are
 * percentages and heights are fixed, so that it needs no measuring and never moves. What the bars are is its children's.
 */
import { type KeyboardEvent, type PointerEvent, type ReactNode, useState } from 'react';

/** Pixels from the top: of the drawing, of its highest bar, of the line that bars stand on. */
export interface ChartHeights {
  height: number;
  top: number;
  floor: number;
}

/** One figure of the read-out; `name` is what tests find it by. */
export interface ChartFigure {
  name: string;
  word: string;
  value: string;
  colour?: 'down' | 'up';
}

export interface ChartReading {
  label: string;
  figures: readonly ChartFigure[];
  /** For a screen reader, in place of label and figures. */
  said: string;
}

export function BarChart(props: {
  /** Bars; each has an equal share of the width. */
  count: number;
  heights: ChartHeights;
  className?: string;
  /** Names the chart and says how to walk it. */
  label: string;
  /** Values with a line of the grid, where they stand, and their names. */
  lines: readonly number[];
  y: (value: number) => number;
  lineName: (value: number) => string;
  /** Of one bar, or of all. */
  read: (at: number | undefined) => ChartReading;
  children: ReactNode;
}) {
  const { count, lines, y } = props;
  const { height, top, floor } = props.heights;
  const [at, setAt] = useState<number>();
  const reading = props.read(at);

  const onKeyDown = (event: KeyboardEvent) => {
    const last = count - 1;
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
    const index = Math.floor(((event.clientX - box.left) / box.width) * count);
    setAt(Math.max(0, Math.min(count - 1, index)));
  };

  return (
    <figure className={`chart ${props.className ?? ''}`}>
      <figcaption className="chart-read">
        <span className="chart-label" data-chart="label">
          {reading.label}
        </span>
        <dl className="chart-figures">
          {reading.figures.map(({ name, word, value, colour }) => (
            <div key={name}>
              <dt>
                {colour && <span className={`key key-${colour}`} />}
                {word}
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
          <svg width="100%" height={height} aria-hidden="true" focusable="false">
            {lines.map(value => (
              <text key={value} x="100%" dx="-10" y={y(value)} dy="0.32em" textAnchor="end">
                {props.lineName(value)}
              </text>
            ))}
          </svg>
        </div>
        {/* A slider is what a walk along bars is to a screen reader. */}
        <div
          className="chart-bars"
          role="slider"
          tabIndex={0}
          aria-label={props.label}
          aria-valuemin={0}
          aria-valuemax={count - 1}
          aria-valuenow={at ?? 0}
          aria-valuetext={reading.said}
          onKeyDown={onKeyDown}
          onBlur={() => setAt(undefined)}
        >
          <svg
            width="100%"
            height={height}
            onPointerMove={onPointer}
            onPointerDown={onPointer}
            onPointerLeave={() => setAt(undefined)}
            aria-hidden="true"
            focusable="false"
          >
            {lines.map(value => (
              <line key={value} className="chart-grid" x1="0" x2="100%" y1={y(value)} y2={y(value)} />
            ))}
            {at !== undefined && (
              <rect
                className="chart-cursor"
                x={`${(at / count) * 100}%`}
                width={`${100 / count}%`}
                y={top}
                height={floor - top}
              />
            )}
            {props.children}
          </svg>
        </div>
      </div>
    </figure>
  );
}
