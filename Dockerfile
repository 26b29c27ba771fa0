# A digest may follow the tag (name:tag@sha256:…); deploy/image.md says how to find and set it.
ARG NODE_IMAGE=node:24.21.0-trixie-slim

FROM ${NODE_IMAGE} AS build
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts
COPY tsconfig.json ./
COPY deploy/build.mjs ./deploy/
COPY src ./src
RUN npm run build

FROM ${NODE_IMAGE} AS production
WORKDIR /app
COPY package.json package-lock.json .npmrc LICENSE ./
COPY --from=build /src/dist ./dist
# What is left of the packages says which are in the build, to scanners, and under which licences. The context keeps the
# modes of whoever checked it out; the user below has to read every file and may write none.
RUN npm ci --omit=dev --ignore-scripts && \
    find node_modules ! -type d ! -iname package.json ! -iname 'licen[cs]e*' -delete && \
    find node_modules -type d -empty -delete && \
    chmod -R a+rX,go-w .

# Node, the libraries that it is linked to, and what libc looks names up by. There is no shell and no package manager.
# The licences of the libraries go along, and what dpkg knows of them, by which scanners tell what is in an image.
FROM ${NODE_IMAGE} AS system
WORKDIR /system
RUN libraries=$(ldd /usr/local/bin/node | grep -o '/[^ ]*') && \
    packages=$(dpkg-query --search $(realpath $libraries) | cut -d: -f1 | sort -u) && \
    cp --parents --dereference /usr/local/bin/node /usr/local/LICENSE /etc/nsswitch.conf /etc/os-release $libraries . && \
    mkdir -p var/lib/dpkg/status.d && \
    for package in $packages; do \
      dpkg-query --status $package > var/lib/dpkg/status.d/$package && \
      cp --parents --dereference /usr/share/doc/$package/copyright . || exit 1; \
    done

FROM scratch
ARG REVISION=unknown
LABEL org.opencontainers.image.title="cambist" \
      org.opencontainers.image.description="A token-exchange proxy beside an AI agent." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}"
# libc would give each thread of Node an arena of its own, and keep in each what was freed there: 13 MiB after a while.
ENV NODE_ENV=production \
    PATH=/usr/local/bin \
    MALLOC_ARENA_MAX=1
COPY --from=system /system /
WORKDIR /app
COPY --from=production /app/LICENSE /app/package.json ./
COPY --from=production /app/node_modules ./node_modules
COPY --from=production /app/dist ./dist
# By number: Kubernetes cannot tell from a name that it is not root's.
USER 65532:65532
EXPOSE 8180 9180
# Left to itself, V8 lets the heap of a container of up to half a GiB grow to 259 MiB, and collects young objects in 1 MiB
# at a time. So: old objects get half of the container's memory limit, whatever that is; the rest is for buffers and code.
# And 8 MiB for young ones, since a call costs half as much CPU again with 1. And no object is taken for long-lived before its
# time, as V8 would those of calls once the cache has been filled. Not in NODE_OPTIONS, which is for whoever runs it.
ENTRYPOINT ["node", "--max-old-space-size-percentage=50", "--max-semi-space-size=8", "--no-allocation-site-pretenuring", "/app/dist/main.js"]
CMD ["run"]
