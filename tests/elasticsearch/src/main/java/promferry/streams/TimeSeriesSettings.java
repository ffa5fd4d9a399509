package promferry.streams;

import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.elasticsearch.cluster.metadata.DataStream;
import org.elasticsearch.cluster.metadata.IndexMetadata;
import org.elasticsearch.cluster.metadata.ProjectMetadata;
import org.elasticsearch.common.compress.CompressedXContent;
import org.elasticsearch.common.settings.Setting;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.common.xcontent.XContentHelper;
import org.elasticsearch.core.TimeValue;
import org.elasticsearch.index.IndexMode;
import org.elasticsearch.index.IndexSettingProvider;
import org.elasticsearch.index.IndexSettings;
import org.elasticsearch.index.IndexVersion;
import org.elasticsearch.index.mapper.DateFieldMapper;
import org.elasticsearch.xcontent.XContentType;

/**
 * Gives each new backing index of a time series data stream its time bounds and, unless it has a routing path, its
 * dimensions. The bounds stay as they are made: the stock module moves the end of the newest index on.
 */
final class TimeSeriesSettings implements IndexSettingProvider {
    static final Setting<TimeValue> LOOK_AHEAD = duration("index.look_ahead_time", TimeValue.timeValueMinutes(30));
    static final Setting<TimeValue> LOOK_BACK = duration("index.look_back_time", TimeValue.timeValueHours(2));

    private static Setting<TimeValue> duration(String key, TimeValue fallback) {
        return Setting.timeSetting(
            key, fallback, TimeValue.timeValueMinutes(1), TimeValue.timeValueDays(7),
            Setting.Property.IndexScope, Setting.Property.Dynamic);
    }

    @Override
    public void provideAdditionalSettings(
        String indexName, String dataStreamName, IndexMode mode, ProjectMetadata project, Instant now,
        Settings asked, List<CompressedXContent> mappings, IndexVersion version, Settings.Builder added) {
        if (dataStreamName == null || mode != IndexMode.TIME_SERIES) {
            return;
        }
        Instant start = now.minusMillis(LOOK_BACK.get(asked).millis());
        DataStream stream = project.dataStreams().get(dataStreamName);
        if (stream != null && stream.getIndexMode() == IndexMode.TIME_SERIES) {
            // A rollover: the new index begins where the last one ends.
            start = IndexSettings.TIME_SERIES_END_TIME.get(project.index(stream.getWriteIndex()).getSettings());
        }
        Instant end = (start.isAfter(now) ? start : now).plusMillis(LOOK_AHEAD.get(asked).millis());
        added.put(IndexSettings.TIME_SERIES_START_TIME.getKey(), bound(start));
        added.put(IndexSettings.TIME_SERIES_END_TIME.getKey(), bound(end));

        if (asked.hasValue(IndexMetadata.INDEX_ROUTING_PATH.getKey()) == false) {
            Set<String> dimensions = new TreeSet<>();
            for (CompressedXContent mapping : mappings) {
                Map<String, Object> root = XContentHelper.convertToMap(mapping.compressedReference(), true, XContentType.JSON).v2();
                addDimensions(root.containsKey("_doc") ? map(root.get("_doc")) : root, "", dimensions);
            }
            if (dimensions.isEmpty() == false) {
                added.putList(IndexMetadata.INDEX_DIMENSIONS.getKey(), List.copyOf(dimensions));
            }
        }
    }

    private static String bound(Instant time) {
        return DateFieldMapper.DEFAULT_DATE_TIME_FORMATTER.format(DataStream.getCanonicalTimestampBound(time));
    }

    /** Full names of the dimensions among the fields of {@code object}; {@code NAME.*} for a passthrough object. */
    private static void addDimensions(Map<String, Object> object, String prefix, Set<String> found) {
        for (var property : map(object.get("properties")).entrySet()) {
            String name = prefix + property.getKey();
            Map<String, Object> field = map(property.getValue());
            if ("true".equals(String.valueOf(field.get("time_series_dimension"))) == false) {
                addDimensions(field, name + ".", found);
            } else if ("passthrough".equals(field.get("type"))) {
                found.add(name + ".*");
            } else {
                found.add(name);
            }
        }
    }

    @SuppressWarnings("unchecked")
    private static Map<String, Object> map(Object value) {
        return value instanceof Map ? (Map<String, Object>) value : Map.of();
    }
}
