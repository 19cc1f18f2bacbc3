/**
 * A drop-down menu on top of <details>, so that it opens without a script. The script adds what people expect of a
 * menu: arrows, Home and End move, Escape closes and gives the focus back, a click or focus outside closes.
 */
import { useLocation } from '@remix-run/react';
import { type KeyboardEvent, type ReactNode, useEffect, useRef } from 'react';

const ITEMS = '.menu-panel :is(button, a[href])';

export function Menu(props: {
  label: string;
  opens: 'up' | 'down';
  boxed?: boolean;
  summary: ReactNode;
  children: ReactNode;
}) {
  const details = useRef<HTMLDetailsElement>(null);
  const location = useLocation();

  useEffect(() => {
    const closeOutside = (event: Event) => {
      const menu = details.current;
      if (menu?.open && event.target instanceof Node && !menu.contains(event.target)) menu.open = false;
    };
    document.addEventListener('pointerdown', closeOutside);
    document.addEventListener('focusin', closeOutside);
    return () => {
      document.removeEventListener('pointerdown', closeOutside);
      document.removeEventListener('focusin', closeOutside);
    };
  }, []);

  // biome-ignore lint/correctness/useExhaustiveDependencies: the new address is the reason to close
  useEffect(() => {
    if (details.current) details.current.open = false;
  }, [location.key]);

  const onKeyDown = (event: KeyboardEvent<HTMLDetailsElement>) => {
    const menu = details.current;
    if (!menu) return;
    if (event.key === 'Escape' && menu.open) {
      event.preventDefault();
      menu.open = false;
      menu.querySelector('summary')?.focus();
      return;
    }
    const step = event.key === 'ArrowDown' ? 1 : event.key === 'ArrowUp' ? -1 : 0;
    const edge = event.key === 'Home' ? 0 : event.key === 'End' ? -1 : undefined;
    if (step === 0 && (edge === undefined || !menu.open)) return;
    event.preventDefault();
    menu.open = true;
    const items: Element[] = [...menu.querySelectorAll(ITEMS)];
    const at = document.activeElement === null ? -1 : items.indexOf(document.activeElement);
    const next =
      edge !== undefined ? edge : at < 0 ? (step > 0 ? 0 : -1) : (at + step + items.length) % items.length;
    const item = items.at(next);
    if (item instanceof HTMLElement) item.focus();
  };

  return (
    <details
      ref={details}
      className={`menu menu-${props.opens}${props.boxed ? ' menu-boxed' : ''}`}
      onKeyDown={onKeyDown}
    >
      <summary aria-label={props.label}>{props.summary}</summary>
      <div className="menu-panel">{props.children}</div>
    </details>
  );
}
