/**
 * Bytes up and down as stacked bars. Widths are percentages and heights are fixed, so that it needs no measuring and
 * never moves. The arrow keys walk the bars as the pointer does; the read-out above says the bar's figures.
 */
import { addBytes, formatBytes } from '@mastline/shared/base/bytes';
import { scaleBand, scaleLinear } from 'd3-scale';
import { type Series, stack } from 'd3-shape';
import { type KeyboardEvent, type PointerEvent, useId, useState } from 'react';
import type { Bucket } from '../usage-range';

const HEIGHT = 240;
const TOP = 8;
const BOTTOM = 28;
const FLOOR = HEIGHT - BOTTOM;

export function UsageChart({ buckets, what }: { buckets: readonly Bucket[]; what: string }) {
  const [at, setAt] = useState<number>();
  const readOutId = useId();
  const chosen = at === undefined ? undefined : buckets[at];

  const highest = Math.max(1, ...buckets.map(bucket => addBytes(bucket.upBytes, bucket.downBytes)));
  const step = niceBinaryStep(highest);
  const ceiling = Math.ceil(highest / step) * step;
  const gap = buckets.length > 60 ? 0.15 : buckets.length > 10 ? 0.28 : 0.42;
  const x = scaleBand<number>(
    buckets.map((_, index) => index),
    [0, 100],
  )
    .paddingInner(gap)
    // Half of a gap at each end: every bar then stands in the middle of its equal share of the width.
    .paddingOuter(gap / 2);
  const y = scaleLinear([0, ceiling], [FLOOR, TOP]);
  const layers = stack<Bucket, 'downBytes' | 'upBytes'>().keys(['downBytes', 'upBytes'])([...buckets]);
  const lines = Array.from({ length: Math.round(ceiling / step) + 1 }, (_, index) => index * step);

  const onKeyDown = (event: KeyboardEvent) => {
    const last = buckets.length - 1;
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
    const index = Math.floor(((event.clientX - box.left) / box.width) * buckets.length);
    setAt(Math.max(0, Math.min(buckets.length - 1, index)));
  };

  return (
    <figure className="chart">
      <figcaption className="chart-read" id={readOutId}>
        <span className="chart-label" data-chart="label">
          {chosen?.label ?? 'Whole range'}
        </span>
        <ReadOut buckets={chosen === undefined ? buckets : [chosen]} />
      </figcaption>
      <div className="chart-plot">
        <div className="chart-axis">
          <svg width="100%" height={HEIGHT} aria-hidden="true" focusable="false">
            {lines.map(value => (
              <text key={value} x="100%" dx="-10" y={y(value)} dy="0.32em" textAnchor="end">
                {formatBytes(value).replace(/\.0+(?= )/, '')}
              </text>
            ))}
          </svg>
        </div>
        {/* A slider is what a walk along bars is to a screen reader. */}
        <div
          className="chart-bars"
          role="slider"
          tabIndex={0}
          aria-label={`${what}. Use the arrow keys to walk along the bars; the table below holds the same figures.`}
          aria-valuemin={0}
          aria-valuemax={buckets.length - 1}
          aria-valuenow={at ?? 0}
          aria-valuetext={chosen === undefined ? 'Whole range' : sentence(chosen)}
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
            {lines.map(value => (
              <line key={value} className="chart-grid" x1="0" x2="100%" y1={y(value)} y2={y(value)} />
            ))}
            {at !== undefined && (
              <rect
                className="chart-cursor"
                x={`${(at / buckets.length) * 100}%`}
                width={`${100 / buckets.length}%`}
                y={TOP}
                height={FLOOR - TOP}
              />
            )}
            {layers.map(layer => (
              <Layer key={layer.key} layer={layer} x={x} y={y} />
            ))}
            {buckets.map((bucket, index) => (
              <Tick key={bucket.start} bucket={bucket} index={index} count={buckets.length} />
            ))}
          </svg>
        </div>
      </div>
    </figure>
  );
}

function Layer(props: {
  layer: Series<Bucket, 'downBytes' | 'upBytes'>;
  x: ReturnType<typeof scaleBand<number>>;
  y: ReturnType<typeof scaleLinear<number, number>>;
}) {
  const { layer, x, y } = props;
  return (
    <g className={layer.key === 'downBytes' ? 'chart-down' : 'chart-up'}>
      {layer.map((point, index) =>
        point[1] > point[0] ? (
          <rect
            key={point.data.start}
            x={`${x(index) ?? 0}%`}
            width={`${x.bandwidth()}%`}
            y={y(point[1])}
            // What was used must be seen, however little it is beside the rest.
            height={Math.max(1, y(point[0]) - y(point[1]))}
          />
        ) : null,
      )}
    </g>
  );
}

/** Every nth label is kept on narrow screens by its class; see screens.css. */
function Tick({ bucket, index, count }: { bucket: Bucket; index: number; count: number }) {
  if (bucket.tick === '') return null;
  const every = count > 60 ? 1 : count > 20 ? 4 : count > 10 ? 2 : 1;
  if (count <= 60 && index % every !== 0) return null;
  const rank = count > 60 ? index / 24 : index / every;
  // Midnights stand under the left edge of their day; the last one stays within the chart.
  const last = count > 60 && index / count > 0.88;
  return (
    <text
      className={Math.round(rank) % 2 === 0 ? 'chart-tick' : 'chart-tick chart-tick-odd'}
      x={last ? '100%' : `${((index + (count > 60 ? 0 : 0.5)) / count) * 100}%`}
      y={HEIGHT - 8}
      textAnchor={last ? 'end' : count > 60 ? 'start' : 'middle'}
    >
      {bucket.tick}
    </text>
  );
}

function ReadOut({ buckets }: { buckets: readonly Bucket[] }) {
  const down = buckets.reduce((sum, bucket) => addBytes(sum, bucket.downBytes), 0);
  const up = buckets.reduce((sum, bucket) => addBytes(sum, bucket.upBytes), 0);
  const flows = buckets.reduce((sum, bucket) => sum + bucket.flows, 0);
  return (
    <dl className="chart-figures">
      <div>
        <dt>
          <span className="key key-down" />
          Down
        </dt>
        <dd className="number" data-chart="down">
          {formatBytes(down)}
        </dd>
      </div>
      <div>
        <dt>
          <span className="key key-up" />
          Up
        </dt>
        <dd className="number" data-chart="up">
          {formatBytes(up)}
        </dd>
      </div>
      <div>
        <dt>Flows</dt>
        <dd className="number">{flows.toLocaleString('en')}</dd>
      </div>
    </dl>
  );
}

function sentence(bucket: Bucket): string {
  return `${bucket.label}: ${formatBytes(bucket.downBytes)} down, ${formatBytes(bucket.upBytes)} up, ${bucket.flows} flows`;
}

/** A step of 1, 2 or 5 × 10ⁿ in the unit that people read, giving three to six lines. */
function niceBinaryStep(highest: number): number {
  const unit = 1024 ** Math.floor(Math.log(Math.max(1, highest)) / Math.log(1024));
  const rough = highest / unit / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const nice = [1, 2, 5, 10].find(factor => factor * power >= rough) ?? 10;
  return Math.max(1, nice * power * unit);
}
