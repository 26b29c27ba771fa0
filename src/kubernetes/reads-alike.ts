import { type Document, isAlias, isMap, isNode, isPair, isScalar, isSeq, parseDocument, type Scalar } from 'yaml';
import { READING } from './edit-document.ts';
import { sameJson } from './json.ts';
import { isAmbiguous, oddBreaks } from './yaml-text.ts';

const NULL = /^(?:~|null|Null|NULL|)$/;
const NUMBER = /^(?:0|[-+]?[1-9]\d*(?:\.0*)?(?:[eE]\+?\d+)?|0x[\da-fA-F]+)$/;

/**
 * Do two documents differ in form only, for kubectl as well as here? Their collections, keys, tags and anchors are the same.
 * A scalar may change its quotes only if no reader takes its text for another type.
 */
export function readsAlike(left: string, right: string): boolean {
  if (oddBreaks(left).join() !== oddBreaks(right).join()) return false;
  const [one, other] = [parseDocument(left, READING), parseDocument(right, READING)];
  return sameDirectives(one, other) && sameNode(one.contents, other.contents);
}

function sameDirectives({ directives: left }: Document, { directives: right }: Document): boolean {
  return sameJson({ ...left?.yaml }, { ...right?.yaml }) && sameJson({ ...left?.tags }, { ...right?.tags });
}

function sameNode(left: unknown, right: unknown): boolean {
  if (isPair(left) && isPair(right)) return sameNode(left.key, right.key) && sameNode(left.value, right.value);
  if (isAlias(left) || isAlias(right)) return isAlias(left) && isAlias(right) && left.source === right.source;
  const [one, other] = [left, right].map((node) => (isNode(node) && !isAlias(node) ? node : undefined));
  if (one?.tag !== other?.tag || one?.anchor !== other?.anchor) return false;
  if ((isMap(one) && isMap(other)) || (isSeq(one) && isSeq(other))) {
    const { items } = other;
    return one.items.length === items.length && one.items.every((item, index) => sameNode(item, items[index]));
  }
  return isValue(one) && isValue(other) && readingOf(one) === readingOf(other);
}

/** A key without a value has none. */
function isValue(node: unknown): node is Scalar | undefined {
  return node === undefined || isScalar(node);
}

function readingOf(scalar: Scalar | undefined): string {
  const { type = 'PLAIN', value = null, source = '' } = scalar ?? {};
  if (type !== 'PLAIN') return `text ${value}`;
  if (NULL.test(source)) return 'null';
  const number = NUMBER.test(source) ? Number(source) : Number.NaN;
  if (Number.isSafeInteger(number)) return `number ${number}`;
  return `${isAmbiguous(source) ? 'plain' : 'text'} ${source}`;
}
