// What the explorer needs of Vega and Vega-Lite: no maps, trees, forces, word clouds or loading.
import {extend} from "vega-util";
import {transforms} from "vega-dataflow";
import * as tx from "vega-transforms";
import * as vtx from "vega-view-transforms";
import * as encode from "vega-encode";
extend(transforms, tx, vtx, encode);
export {View} from "vega-view";
export {parse} from "vega-parser";
export {expressionInterpreter} from "vega-interpreter";
export {compile} from "vega-lite";
