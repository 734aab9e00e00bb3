//! Every sentence of cards and terminal in both languages, side by side so that neither can be forgotten. Not the choice of language.
//!
//! Fixed terms: 統帥 (commander), 自治率 (autonomy rate), 錯誤預算 (error budget). Places in braces are filled by [`super::Locale::say`].

use super::Locale;

macro_rules! words {
    ($($name:ident: $zh:literal, $en:literal;)*) => {
        /// A sentence or word that people read.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Word {
            $(#[doc = $en] $name,)*
        }

        impl Word {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The text in one language, places unfilled.
            pub fn text(self, locale: Locale) -> &'static str {
                match (self, locale) {
                    $((Self::$name, Locale::ZhTw) => $zh, (Self::$name, Locale::En) => $en,)*
                }
            }
        }
    };
}

words! {
    Unknown: "未知", "unknown";
    NoData: "無資料", "no data";
    Healthy: "正常", "healthy";
    Warning: "警告", "warning";
    Critical: "嚴重", "critical";
    AtRisk: "有風險", "at risk";
    Breached: "已違反", "breached";
    OpenCard: "開啟 {title}", "Open {title}";
    OpenTool: "在 {tool} 中深入查看 {service}", "Look deeper into {service} in {tool}";
    ThisMonth: "本月", "this month";

    HealthTitle: "系統健康", "System health";
    HealthSummary: "{total} 個服務｜{healthy} 個正常｜{warning} 個警告｜{critical} 個嚴重｜{unknown} 個無資料",
        "{total} SERVICES | {healthy} HEALTHY | {warning} WARNING | {critical} CRITICAL | {unknown} NO DATA";
    HealthDescription: "每個服務一個狀態，最需要注意的排在最前面。", "One status per service, the one that needs attention most comes first.";
    ServicesHealthy: "正常服務", "Services healthy";
    ServicesWarning: "警告服務", "Services in warning";
    ServicesCritical: "嚴重服務", "Services critical";
    ServicesUnknown: "無資料服務", "Services without data";

    ServiceTitle: "服務詳情：{service}", "Service detail: {service}";
    ServiceSummary: "{service} 目前{status}：錯誤率 {errors}，p95 延遲 {p95}。", "{service} is {status}: error ratio {errors}, p95 latency {p95}.";
    ServiceDescription: "最近一個完整分鐘的流量、錯誤率與延遲。", "Traffic, error ratio and latency of the newest full minute.";
    ServiceNoTraffic: "{service} 目前{status}；沒有流量資料。", "{service} is {status}; there are no traffic data.";
    Traffic: "每秒請求數", "Requests per second";
    ErrorRatio: "錯誤率", "Error ratio";
    LatencyP50: "p50 延遲", "p50 latency";
    LatencyP95: "p95 延遲", "p95 latency";
    LatencyP99: "p99 延遲", "p99 latency";
    Status: "狀態", "Status";

    SloTitle: "SLO 儀表板", "SLO dashboard";
    SloSummary: "{total} 個目標：{healthy} 個正常、{at_risk} 個有風險、{breached} 個已違反、{no_data} 個無資料。",
        "{total} objectives: {healthy} healthy, {at_risk} at risk, {breached} breached, {no_data} without data.";
    SloDescription: "每個目標的達成率與剩餘錯誤預算。", "Attainment and remaining error budget of every objective.";
    SloNone: "尚未定義任何 SLO。", "No SLO is defined.";
    BudgetRemaining: "{name} 剩餘錯誤預算", "{name}: error budget remaining";
    Overall: "整體狀態", "Overall status";

    FinOpsTitle: "FinOps 成本總覽（{period}）", "FinOps cost summary ({period})";
    FinOpsSummary: "{period} 至今花費 {total}，最大來源為 {driver}。", "{total} spent in {period} so far; the largest driver is {driver}.";
    FinOpsEmpty: "{period} 沒有任何用量紀錄。", "There is no usage in {period}.";
    FinOpsDescription: "依供應商與模型彙總的 LLM 花費；未定價的用量另外列出。", "LLM spend by provider and model; usage without a price is listed apart.";
    TotalCost: "總花費", "Total cost";
    ProviderCost: "{name} 花費", "{name} cost";
    UnpricedTokens: "未定價的 token", "Unpriced tokens";

    AutonomyTitle: "自治率", "Autonomy rate";
    AutonomySummary: "最近 24 小時自治率 {rate}：自動解決 {auto} 件，需要統帥或值班人員 {human} 件。",
        "Autonomy rate of the last 24 hours {rate}: {auto} resolved automatically, {human} needed a person.";
    AutonomyEmpty: "最近 24 小時沒有已解決的事件。", "No incident was resolved in the last 24 hours.";
    AutonomyDescription: "由 AI 獨力解決的事件占比；自行恢復的事件不計入。", "Share of incidents the AI resolved alone; incidents that cleared by themselves do not count.";
    AutonomyTrend: "與昨日同時段相比", "Against yesterday at the same time of day";
    AutonomyToday: "今日自治率", "Autonomy rate today";
    AutonomyStrict: "嚴格自治率", "Strict autonomy rate";
    AutoResolved: "自動解決", "Resolved automatically";
    Assisted: "統帥核准後解決", "Resolved after approval";
    Manual: "人工解決", "Resolved by a person";
    SelfCleared: "自行恢復", "Cleared by itself";

    MttrTitle: "平均修復時間（MTTR）", "Mean time to resolution (MTTR)";
    MttrSummary: "最近 {days} 天平均修復時間 {mean}，中位數 {median}，共 {n} 件；目前未解決 {open} 件。",
        "Mean time to resolution over {days} days {mean}, median {median}, {n} incidents; {open} open now.";
    MttrEmpty: "最近 {days} 天沒有已解決的事件；目前未解決 {open} 件。", "No incident was resolved in {days} days; {open} open now.";
    MttrDescription: "從發現到解決的時間，分為自動與人工；平均值受少數長事件影響，請一併看中位數。",
        "Time from detection to resolution, automatic and by people; few long incidents move the mean, so read the median with it.";
    MttrOverall: "整體 MTTR", "MTTR overall";
    MttrAuto: "自動 MTTR", "MTTR automatic";
    MttrHuman: "人工 MTTR", "MTTR by people";
    MttrMedian: "中位數", "Median";
    MttrP90: "第 90 百分位", "90th percentile";
    OpenIncidents: "未解決事件", "Open incidents";
    OldestOpen: "最久未解決", "Oldest open for";

    ReasonDown: "沒有任何端點回應", "no target answers";
    ReasonPartlyDown: "{up}/{targets} 個端點有回應", "{up} of {targets} targets answer";
    ReasonSloBreached: "SLO 已違反", "an SLO is breached";
    ReasonSloPage: "錯誤預算消耗過快", "an error budget burns too fast";
    ReasonSloAtRisk: "SLO 有風險", "an SLO is at risk";
    ReasonAlert: "{count} 個告警觸發中：{title}", "{count} alerts firing: {title}";
    ReasonAnomaly: "{signal} 偏離平常", "{signal} is far from usual";
    ReasonSilent: "最近沒有任何訊號", "nothing was heard of it lately";
    ReadFailed: "目前無法讀取資料。", "The data cannot be read at the moment.";
    NoServices: "尚未看到任何服務。", "No service has been seen yet.";
    NoService: "沒有名為 {service} 的服務資料。", "There are no data of a service named {service}.";
}
