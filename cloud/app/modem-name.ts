/** "rooftop · slot 2 · E3372h-320": how a modem is called where several nodes' stand in one list. */
export function modemName(modem: { nodeName: string; slot: number; model: string | null }): string {
  const { nodeName, slot, model } = modem;
  return `${nodeName} · slot ${slot}${model ? ` · ${model}` : ''}`;
}
