import { type Config, KEYS } from './config.ts';
import { type Keys, propertyOf } from './key.ts';

/** The changed keys that take effect at the next restart. */
export function restartKeys(before: Config, after: Config): string[] {
  return changedKeys(KEYS, before, after, '');
}

/** Where a whole section needs a restart, or is new or gone, its keys say nothing more. */
function changedKeys(keys: Keys, before: unknown, after: unknown, path: string): string[] {
  return Object.entries(keys).flatMap(([name, key]) => {
    const [old, current] = [before, after].map(
      (values) => (values as Record<string, unknown> | undefined)?.[propertyOf(name, key)],
    );
    const { restart } = key.about;
    const hasChanged = JSON.stringify(old) !== JSON.stringify(current);
    if (restart === 'change') return hasChanged ? [path + name] : [];
    if (restart === 'presence' && (old === undefined) !== (current === undefined)) return [path + name];
    return key.keys === undefined || !hasChanged ? [] : changedKeys(key.keys, old, current, `${path}${name}.`);
  });
}
