// What the report needs of ECharts, and nothing else. README.md says how echarts.min.js is made of it.
import { getInstanceByDom, init, use } from "echarts/core";
import { BarChart, CustomChart, LineChart, ScatterChart } from "echarts/charts";
import {
  AriaComponent,
  DataZoomInsideComponent,
  DataZoomSliderComponent,
  GridComponent,
  LegendComponent,
  MarkAreaComponent,
  MarkLineComponent,
  TooltipComponent,
} from "echarts/components";
import { CanvasRenderer } from "echarts/renderers";

use([BarChart, CustomChart, LineChart, ScatterChart, CanvasRenderer]);
use([AriaComponent, DataZoomInsideComponent, DataZoomSliderComponent, GridComponent]);
use([LegendComponent, MarkAreaComponent, MarkLineComponent, TooltipComponent]);
window.echarts = { init, getInstanceByDom };
