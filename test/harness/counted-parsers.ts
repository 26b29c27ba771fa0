/** Counts the allocated parsers of http1 in WebAssembly's memory. */
export interface CountedParsers {
  inUse(): number;
  memoryBytes(): number;
}

interface Exports {
  readonly memory: { readonly buffer: ArrayBuffer };
  llhttp_alloc(type: number): number;
  llhttp_free(parser: number): void;
}

/** Starts counting. Must be called before the first parser exists. */
export function countParsers(): CountedParsers {
  const { Instance } = WebAssembly;
  const inUse = new Set<number>();
  let memory: Exports['memory'] | undefined;

  class CountedInstance {
    readonly exports: Exports;
    constructor(...given: ConstructorParameters<typeof Instance>) {
      const exports = new Instance(...given).exports as unknown as Exports;
      memory = exports.memory;
      this.exports = {
        ...exports,
        llhttp_alloc(type) {
          const parser = exports.llhttp_alloc(type);
          inUse.add(parser);
          return parser;
        },
        llhttp_free(parser) {
          if (!inUse.delete(parser)) throw new Error('an unknown or freed parser is freed');
          exports.llhttp_free(parser);
        },
      };
    }
  }
  Object.assign(WebAssembly, { Instance: CountedInstance });
  return { inUse: () => inUse.size, memoryBytes: () => memory?.buffer.byteLength ?? 0 };
}
