/** Bytes up and down as stacked bars, by hour or day; the frame and its keys are bar-chart.tsx. */
import { addBytes, formatBytes } from '@mastline/shared/base/bytes';
import { scaleBand, scaleLinear } from 'd3-scale';
import { type Series, stack } from 'd3-shape';
import type { Bucket } from '../usage-range';
import { BarChart, type ChartReading } from './bar-chart';

const HEIGHT = 240;
const TOP = 8;
const FLOOR = HEIGHT - 28;

export function UsageChart({ buckets, what }: { buckets: readonly Bucket[]; what: string }) {
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
  return (
    <BarChart
      count={buckets.length}
      heights={{ height: HEIGHT, top: TOP, floor: FLOOR }}
      label={`${what}. Use the arrow keys to walk along the bars; the table below holds the same figures.`}
      lines={Array.from({ length: Math.round(ceiling / step) + 1 }, (_, index) => index * step)}
      y={y}
      lineName={value => formatBytes(value).replace(/\.0+(?= )/, '')}
      read={at => reading(buckets, at)}
    >
      {layers.map(layer => (
        <Layer key={layer.key} layer={layer} x={x} y={y} />
      ))}
      {buckets.map((bucket, index) => (
        <Tick key={bucket.start} bucket={bucket} index={index} count={buckets.length} />
      ))}
    </BarChart>
  );
}

function reading(buckets: readonly Bucket[], at: number | undefined): ChartReading {
  const chosen = at === undefined ? undefined : buckets[at];
  const shown = chosen === undefined ? buckets : [chosen];
  const down = formatBytes(shown.reduce((sum, bucket) => addBytes(sum, bucket.downBytes), 0));
  const up = formatBytes(shown.reduce((sum, bucket) => addBytes(sum, bucket.upBytes), 0));
  const flows = shown.reduce((sum, bucket) => sum + bucket.flows, 0).toLocaleString('en');
  const label = chosen?.label ?? 'Whole range';
  return {
    label,
    figures: [
      { name: 'down', word: 'Down', value: down, colour: 'down' },
      { name: 'up', word: 'Up', value: up, colour: 'up' },
      { name: 'flows', word: 'Flows', value: flows },
    ],
    said: chosen === undefined ? label : `${label}: ${down} down, ${up} up, ${flows} flows`,
  };
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

/** A step of 1, 2 or 5 × 10ⁿ in the unit that people read, giving three to six lines. */
function niceBinaryStep(highest: number): number {
  const unit = 1024 ** Math.floor(Math.log(Math.max(1, highest)) / Math.log(1024));
  const rough = highest / unit / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const nice = [1, 2, 5, 10].find(factor => factor * power >= rough) ?? 10;
  return Math.max(1, nice * power * unit);
}
