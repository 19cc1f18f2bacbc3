/** A list without entries: says so, and what to do about it. */
import type { ReactNode } from 'react';
import { Icon, type IconName } from './icons';

export function Empty(props: { icon: IconName; title: string; children: ReactNode }) {
  return (
    <section className="card empty">
      <Icon name={props.icon} size={32} />
      <h2>{props.title}</h2>
      {props.children}
    </section>
  );
}
