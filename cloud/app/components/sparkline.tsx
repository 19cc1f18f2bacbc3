/** The last minute of throughput as two lines; the newest second is at the right. Decoration beside the figures. */
import { scaleLinear } from 'd3-scale';
import { area, curveMonotoneX, line } from 'd3-shape';
import { SAMPLES, type Samples } from '../use-live';

const WIDTH = 240;
const HEIGHT = 48;
/** Below this the line stays low: a few bytes of keep-alive are no mountain. */
const LEAST_CEILING = 4_096;

export function Sparkline({ samples, size }: { samples: Samples; size: 'small' | 'large' }) {
  const ceiling = Math.max(LEAST_CEILING, ...samples.up, ...samples.down);
  const y = scaleLinear([0, ceiling], [HEIGHT - 2, 3]);
  const x = (index: number, count: number) => WIDTH - ((count - 1 - index) / (SAMPLES - 1)) * WIDTH;
  const draw = (values: readonly number[]) =>
    line<number>()
      .x((_, index) => x(index, values.length))
      .y(value => y(value))
      .curve(curveMonotoneX)(values) ?? '';
  // One or two samples are no line yet.
  const begun = samples.down.length > 2;
  const ground =
    area<number>()
      .x((_, index) => x(index, samples.down.length))
      .y0(HEIGHT)
      .y1(value => y(value))
      .curve(curveMonotoneX)(samples.down) ?? '';
  return (
    <svg
      className={`sparkline sparkline-${size}`}
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      preserveAspectRatio="none"
      aria-hidden="true"
      focusable="false"
    >
      <line className="spark-base" x1="0" x2={WIDTH} y1={HEIGHT - 1} y2={HEIGHT - 1} />
      {begun && (
        <>
          <path className="spark-ground" d={ground} />
          <path className="spark-up" d={draw(samples.up)} />
          <path className="spark-down" d={draw(samples.down)} />
        </>
      )}
    </svg>
  );
}
