#!/bin/sh
# Makes the page's Vega anew: ./build.sh in this folder, with node and npm. Its exact packages are
# in package-lock.json; their licences (BSD-3-Clause of Vega, ISC of d3) stand before the code.
# Parts that the explorer never uses are replaced by nothing, which saves a quarter of the bytes.
set -eu
cd "$(dirname "$0")"
out=../../benchlib/report/templates/explorer/vega.js
npm ci --no-audit --no-fund
echo 'module.exports = {};' > node_modules/nothing.cjs
grep -o 'scheme[A-Z][A-Za-z0-9]*' node_modules/vega-scale/src/palettes.js | sort -u |
  sed 's/.*/exports.& = [];/' > node_modules/no_colors.cjs
set -- --alias:vega-expression=./node_modules/vega-expression \
  --alias:d3-scale-chromatic=./node_modules/no_colors.cjs
for unused in vega-geo vega-projection vega-hierarchy vega-force vega-label vega-voronoi \
  vega-wordcloud vega-crossfilter vega-regression d3-geo d3-delaunay d3-hierarchy d3-force \
  topojson-client d3-dsv; do
  set -- "$@" "--alias:$unused=./node_modules/nothing.cjs"
done
{
  echo "/*! Vega 6.4.0, Vega-Lite 6.4.3, vega-interpreter 2.3.2 and parts of d3, made by tools/vega_bundle."
  for package in vega vega-lite d3-array; do echo "$package:"; cat "node_modules/$package/LICENSE"; done
  echo "*/"
  node_modules/esbuild/bin/esbuild entry.js --bundle --minify --format=iife --global-name=benchlibVega \
    --target=es2020 --legal-comments=none "$@"
} > node_modules/vega.js
mv node_modules/vega.js "$out"
