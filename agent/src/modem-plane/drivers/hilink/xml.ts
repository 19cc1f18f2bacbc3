/**
 * Reads the XML that HiLink sticks write: elements and text, no attributes worth keeping, no namespaces, no DTD. Pure
 * and strict: what is not well-formed is refused, not guessed at. Duplicate elements stay duplicate.
 */
import { CodedError } from '@mastline/shared/base/coded-error';

/** A stick's longest reply is a page of SMS, far below this. */
export const MAX_XML_CHARS = 256 * 1024;
const MAX_DEPTH = 16;

export interface XmlElement {
  name: string;
  /** The element's own text, entities resolved; children's text is not in it. */
  text: string;
  children: XmlElement[];
}

/** The document's root. Throws `hilink/bad-xml` with the offset of what is wrong. */
export function parseXml(source: string): XmlElement {
  if (source.length > MAX_XML_CHARS) throw bad(`more than ${MAX_XML_CHARS} characters`, 0);
  const open: XmlElement[] = [];
  let root: XmlElement | undefined;
  // A byte order mark stands before the declaration of some firmware.
  let at = source.charCodeAt(0) === 0xfeff ? 1 : 0;
  while (at < source.length) {
    const inside = open[open.length - 1];
    if (source[at] !== '<') {
      const end = indexOr(source, '<', at, source.length);
      const text = source.slice(at, end);
      if (inside) inside.text += resolveEntities(text, at);
      else if (text.trim() !== '') throw bad('text outside the root element', at);
      at = end;
    } else if (source.startsWith('<!--', at)) at = after(source, '-->', at + 4);
    else if (source.startsWith('<?', at)) at = after(source, '?>', at + 2);
    else if (inside && source.startsWith('<![CDATA[', at)) {
      const end = after(source, ']]>', at + 9);
      inside.text += source.slice(at + 9, end - 3);
      at = end;
    } else if (source.startsWith('</', at)) {
      const end = after(source, '>', at);
      if (!inside || source.slice(at + 2, end - 1).trimEnd() !== inside.name)
        throw bad('a closing tag that closes nothing open', at);
      open.pop();
      at = end;
    } else {
      const tag = /^<([A-Za-z_][\w.-]*)((?:\s+[\w:.-]+\s*=\s*(?:"[^"<]*"|'[^'<]*'))*)\s*(\/?)>/.exec(
        source.slice(at, at + 1024),
      );
      if (!tag) throw bad('what is no tag', at);
      const element: XmlElement = { name: tag[1] ?? '', text: '', children: [] };
      if (inside) inside.children.push(element);
      else if (root) throw bad('a second root element', at);
      else root = element;
      if (tag[3] !== '/') open.push(element);
      if (open.length > MAX_DEPTH) throw bad(`elements nested over ${MAX_DEPTH} deep`, at);
      at += tag[0].length;
    }
  }
  if (open.length > 0) throw bad(`the end inside <${open[open.length - 1]?.name}>`, source.length);
  if (!root) throw bad('no element', 0);
  return root;
}

/** Text of the first child of that name, trimmed; undefined when there is none, null-like '' when it is empty. */
export function textOf(element: XmlElement, name: string): string | undefined {
  return element.children.find(child => child.name === name)?.text.trim();
}

const NAMED: Record<string, string> = { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" };

function resolveEntities(text: string, offset: number): string {
  return text.replace(/&([^;&]{0,16})(;?)/g, (_, name: string, semicolon: string, at: number) => {
    const named = NAMED[name];
    const numeric = /^#(?:x([0-9a-fA-F]{1,6})|(\d{1,7}))$/.exec(name);
    const code = numeric ? Number.parseInt(numeric[1] ?? numeric[2] ?? '', numeric[1] ? 16 : 10) : undefined;
    if (semicolon === '' || (named === undefined && (code === undefined || code === 0 || code > 0x10ffff)))
      throw bad('an entity that does not exist', offset + at);
    return named ?? String.fromCodePoint(code ?? 0);
  });
}

function indexOr(source: string, mark: string, from: number, otherwise: number): number {
  const at = source.indexOf(mark, from);
  return at < 0 ? otherwise : at;
}

function after(source: string, mark: string, from: number): number {
  const at = source.indexOf(mark, from);
  if (at < 0) throw bad(`no "${mark}"`, from);
  return at + mark.length;
}

function bad(what: string, at: number): CodedError {
  return new CodedError('hilink/bad-xml', `${what} at offset ${at}`);
}
